package secretfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadToken(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef"
	for name, test := range map[string]struct {
		content string
		mode    os.FileMode
		want    string // the token, or a part of the error
		fails   bool
	}{
		"a token":            {token + "\n", 0o600, token, false},
		"a named token":      {"# of web\n\nweb=" + token + "\n", 0o640, token, false},
		"a short token":      {"a=b", 0o600, "a=b", false},
		"padding":            {"dG9rZW4tb2Ytd2Vi=", 0o600, "dG9rZW4tb2Ytd2Vi=", false},
		"two lines":          {token + "\n" + token, 0o600, "must hold one token", true},
		"nothing":            {"# nothing\n\n", 0o600, "must hold one token", true},
		"a space":            {token + " " + token, 0o600, "must hold one token", true},
		"too long":           {strings.Repeat("x", 513), 0o600, "must hold one token", true},
		"readable for all":   {token, 0o604, "chmod o-rwx", true},
		"more than one MiB":  {strings.Repeat("#\n", 1<<19+1), 0o600, "more than 1 MiB", true},
		"not a regular text": {"\x00\x01", 0o600, "must hold one token", true},
	} {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(test.content), test.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		got, err := ReadToken(path)
		switch {
		case !test.fails && (err != nil || got != test.want):
			t.Errorf("%s: %q, %v", name, got, err)
		case test.fails && (err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), token)):
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := ReadToken(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that does not exist, and no error")
	}
}

// TestReadSecretBytes: one newline at the end is not part of the secret, every other byte is.
func TestReadSecretBytes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		content string
		mode    os.FileMode
		want    string // the secret, or a part of the error
		fails   bool
	}{
		"text":                {"pepper", 0o600, "pepper", false},
		"for the group":       {"pepper\n", 0o640, "pepper", false},
		"a newline":           {"pepper\n", 0o600, "pepper", false},
		"one of Windows":      {"pepper\r\n", 0o600, "pepper", false},
		"two newlines":        {"pepper\n\n", 0o600, "pepper\n", false},
		"ends with a \\r":     {"pepper\r", 0o600, "pepper\r", false},
		"spaces":              {" pepper \n", 0o600, " pepper ", false},
		"bytes":               {"\x00\xff\n\x01", 0o600, "\x00\xff\n\x01", false},
		"empty":               {"", 0o600, "is empty: it must hold the secret", true},
		"a newline alone":     {"\n", 0o600, "is empty", true},
		"readable for all":    {"pepper", 0o604, "chmod o-rwx", true},
		"writable for all":    {"pepper", 0o602, "chmod o-rwx", true},
		"more than one MiB":   {strings.Repeat("p", 1<<20+1), 0o600, "more than 1 MiB", true},
		"a mebibyte of bytes": {strings.Repeat("p", 1<<20), 0o600, strings.Repeat("p", 1<<20), false},
	} {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		got, err := ReadSecretBytes(path)
		switch {
		case !test.fails && (err != nil || string(got) != test.want):
			t.Errorf("%s: %.20q, %v", name, got, err)
		case test.fails && (err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "pepper")):
			t.Errorf("%s: %.20q, %v", name, got, err)
		}
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if _, err := ReadSecretBytes(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("no file: %v", err)
		}
	}
}

// TestIsSame: no spelling of a path hides that it is the same file.
func TestIsSame(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, other, link, hard := filepath.Join(dir, "file"), filepath.Join(dir, "other"), filepath.Join(dir, "link"), filepath.Join(dir, "hard")
	for _, path := range []string{file, other} {
		if err := os.WriteFile(path, []byte("same content"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink(file, link), os.Link(file, hard)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		file: true, dir + "//file": true, dir + "/./file": true, link: true, hard: true, other: false, filepath.Join(dir, "none"): false, "": false,
	} {
		if got := IsSame(file, path); got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}
