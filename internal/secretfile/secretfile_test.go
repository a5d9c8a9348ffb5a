package secretfile

import (
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
