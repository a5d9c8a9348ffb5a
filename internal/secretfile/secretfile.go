// Package secretfile reads small files: secrets, tokens and certificates. It
// depends on the standard library only, because package client uses it.
//
// No error contains anything of a file's content.
package secretfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// maxFile bounds how much of a file is read, in bytes: a path that names
	// something else must not fill the memory.
	maxFile = 1 << 20
	// maxToken is the longest token, in bytes.
	maxToken = 512
	// maxWait is for a command that writes into a pipe, and may ask a person first.
	maxWait = 30 * time.Second
)

// Read reads a file of at most 1 MiB.
func Read(path string) ([]byte, error) {
	content, _, err := read(path)
	return content, err
}

// ReadSecret is Read for a file with a secret. Only its owner and group may have
// access to it.
func ReadSecret(path string) ([]byte, error) {
	content, shared, err := ReadShared(path)
	if err == nil && shared {
		return nil, fmt.Errorf("every user of this machine has access to %s: chmod o-rwx it", path)
	}
	return content, err
}

// ReadShared is Read for a file that may have a secret in it: shared reports whether
// every user of the machine has access to the file.
func ReadShared(path string) (content []byte, shared bool, err error) {
	content, mode, err := read(path)
	return content, runtime.GOOS != "windows" && mode.Perm()&0o007 != 0, err
}

// IsSame reports whether two paths name the same file: by the same path, another
// spelling of it, a symbolic link or a hard link. A file that cannot be found is none.
func IsSame(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return a == b || errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// ReadSecretBytes is ReadSecret for a file that holds one secret of any bytes. One
// newline at the end, which editors and echo add, is not part of the secret. A file
// without a secret is an error.
func ReadSecretBytes(path string) ([]byte, error) {
	content, err := ReadSecret(path)
	if err != nil {
		return nil, err
	}
	secret, ended := bytes.CutSuffix(content, []byte("\n"))
	if ended {
		secret = bytes.TrimSuffix(secret, []byte("\r"))
	}
	if len(secret) == 0 {
		return nil, fmt.Errorf("%s is empty: it must hold the secret", path)
	}
	return secret, nil
}

// read returns the mode of the file that it reads. The path may name another one
// a moment later.
func read(path string) (content []byte, mode os.FileMode, err error) {
	return readWithin(path, maxWait)
}

// readWithin waits so long for a pipe that has a writer, and not for one without: a
// daemon that reads its files again must not hang because one became a named pipe.
func readWithin(path string, wait time.Duration) (content []byte, mode os.FileMode, err error) {
	flag := os.O_RDONLY
	if runtime.GOOS != "windows" {
		flag |= syscall.O_NONBLOCK
	}
	file, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = file.Close() }()
	_ = file.SetReadDeadline(time.Now().Add(wait)) // only a pipe has deadlines, and needs one
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	content, err = io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = errors.New("the file has more than 1 MiB")
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	return content, info.Mode(), nil
}

// namedToken is a line of the daemon's token file, which may have rights after the
// token. A token without a name can look like one if it has a '=' inside and not only
// at its end.
var namedToken = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}=([!-~]{16,512})(?:[ \t]+[a-z_]+=\S+)*$`)

// ReadToken reads a file with one token, alone or as one line of name=token, with or
// without rights. Blank
// lines and lines that begin with # are ignored.
func ReadToken(path string) (string, error) {
	content, err := ReadSecret(path)
	if err != nil {
		return "", err
	}
	var lines []string
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 1 {
		if found := namedToken.FindStringSubmatch(lines[0]); found != nil {
			return found[1], nil
		}
		if IsToken(lines[0]) {
			return lines[0], nil
		}
	}
	return "", fmt.Errorf("%s must hold one token of 1 to %d printable ASCII characters, or one line of name=token", path, maxToken)
}

// IsToken reports whether a header can carry text as a bearer token.
func IsToken(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return text != "" && len(text) <= maxToken
}
