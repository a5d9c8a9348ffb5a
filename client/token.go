package client

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tokenInterval is the time between two looks at the token's file.
	tokenInterval = 2 * time.Second
	// maxToken is the daemon's bound, in bytes.
	maxToken = 512
	// maxTokenFile leaves room for comments.
	maxTokenFile = 64 << 10
)

// token is the caller token, which a file may change. It is safe for concurrent
// use. There is no goroutine: whoever asks first after tokenInterval looks.
type token struct {
	// path is the file. Empty: value never changes.
	path   string
	logger *slog.Logger
	// now is the time since some instant, on a clock that nobody sets.
	now   func() time.Duration
	value atomic.Pointer[string]

	// looking is held by the one who looks; the others take what there is.
	looking sync.Mutex
	looked  atomic.Int64 // by now
	// wrong is the last mistake, which has been logged. looking guards it.
	wrong string
}

func newToken(config *Config) (*token, error) {
	began := time.Now()
	t := &token{path: config.TokenFile, logger: config.Logger, now: func() time.Duration { return time.Since(began) }}
	value := config.Token
	if t.path != "" {
		var err error
		if value, err = readToken(t.path); err != nil {
			return nil, err
		}
	}
	t.value.Store(&value)
	return t, nil
}

// get is the token, "" for none.
func (t *token) get() string {
	if t.path != "" && t.now()-time.Duration(t.looked.Load()) >= tokenInterval && t.looking.TryLock() {
		t.look()
		t.looking.Unlock()
	}
	return *t.value.Load()
}

// look reads the file again. Each mistake is logged once.
func (t *token) look() {
	t.looked.Store(int64(t.now()))
	value, err := readToken(t.path)
	if err != nil {
		if t.wrong != err.Error() {
			t.logger.Error("the caller token cannot be read again, the one from before stays in use", "error", err)
		}
		t.wrong = err.Error()
		return
	}
	t.wrong = ""
	if value != *t.value.Load() {
		t.value.Store(&value)
		t.logger.Info("the caller token has changed")
	}
}

// readToken reads a file with a token, alone or as one line of name=token, as the
// commands of keytail do. Nothing of it is in an error.
func readToken(path string) (string, error) {
	content, mode, err := readSmall(path)
	if err != nil {
		return "", fmt.Errorf("client: TokenFile: %w", err)
	}
	if runtime.GOOS != "windows" && mode.Perm()&0o007 != 0 {
		return "", fmt.Errorf("client: TokenFile: everyone on this machine may use %s: chmod o-rwx it", path)
	}
	var lines []string
	for line := range strings.Lines(content) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 1 {
		if found := namedToken.FindStringSubmatch(lines[0]); found != nil {
			return found[1], nil
		}
		if isToken(lines[0]) {
			return lines[0], nil
		}
	}
	return "", fmt.Errorf("client: TokenFile: %s must hold one token, of printable ASCII characters, or one line of name=token", path)
}

// namedToken is a line of the daemon's own file. A token by itself can look like
// one if it has a '=' inside and not only at its end.
var namedToken = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}=([!-~]{16,512})$`)

// readSmall takes the mode of the very file that it reads.
func readSmall(path string) (content string, mode os.FileMode, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return "", 0, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxTokenFile+1))
	if err == nil && len(text) > maxTokenFile {
		err = errors.New("it has more than 64 KiB")
	}
	if err != nil {
		return "", 0, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	return string(text), info.Mode(), nil
}

// isToken: what a header can carry without being cut.
func isToken(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return text != "" && len(text) <= maxToken
}
