package cli

import (
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/testprogram"
)

// echoes reports whether the terminal echoes typed text.
func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

func awaitShowing(t *testing.T, terminal *os.File, want bool) {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); echoes(t, terminal) != want; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("the terminal echoes typed text: got %v", !want)
		}
	}
}

// endReader sends a line to the reader that is left after Ctrl-C (in production it ends
// with the process), and waits until the reader has restored the terminal.
func endReader(t *testing.T, keyboard, terminal *os.File) {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	state.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(terminal.Fd()), unix.TCSETS, state); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(keyboard, "\n")
	awaitShowing(t, terminal, true)
}

// TestATypedKeyIsHidden: the terminal does not echo the key, and Ctrl-C restores the
// terminal.
func TestATypedKeyIsHidden(t *testing.T) {
	f := newFakeDaemon(t)
	keyboard, terminal := testprogram.OpenTerminal(t)
	for _, typed := range []bool{true, false} {
		r := start([]string{"verify", "-q"}, Deps{Stdin: terminal})
		awaitShowing(t, terminal, false)
		if !typed {
			r.signal(t)
			if code := r.wait(t); code != exitFailure || !strings.Contains(r.stderr.String(), "interrupted") || !echoes(t, terminal) {
				t.Errorf("got exit code %d, echoes %v, %s", code, echoes(t, terminal), r.stderr)
			}
			endReader(t, keyboard, terminal)
			continue
		}
		_, _ = io.WriteString(keyboard, "kt_typed\n")
		if code := r.wait(t); code != exitOK || r.stdout.String() != "VALID\n" || !echoes(t, terminal) {
			t.Errorf("got exit code %d, %s%s", code, r.stdout, r.stderr)
		}
	}
	if asked := f.seenRequests(); len(asked) != 1 || !strings.Contains(asked[0], "kt_typed") {
		t.Errorf("requests: got %q", asked)
	}
}

// TestRevokeOfAnOwnerAsks on a terminal, and shows the number of keys. A leaked key is
// read without an echo.
func TestRevokeOfAnOwnerAsks(t *testing.T) {
	for answer, want := range map[string]struct {
		code    int
		stderr  string
		revokes bool
	}{
		"y\n":   {exitOK, "revoked 3 keys of user u1; refused on 1 of 1 instances", true},
		"YES\n": {exitOK, "revoked 3 keys of user u1; refused on 1 of 1 instances", true},
		"\n":    {exitFailure, "nothing was revoked", false},
		"yep\n": {exitFailure, "nothing was revoked", false},
	} {
		f := newFakeDaemon(t)
		keyboard, terminal := testprogram.OpenTerminal(t)
		_, _ = io.WriteString(keyboard, answer)
		code, _, stderr := finish(t, Deps{Stdin: terminal}, "keys", "revoke", "--user-id=u1")
		asked := strings.Contains(strings.Join(f.seenRequests(), "\n"), `POST /v1/keys/revoke {"user_id":"u1"}`)
		if code != want.code || !strings.Contains(stderr, "revoke 3 keys of user u1? [y/N]") || !strings.Contains(stderr, want.stderr) || asked != want.revokes {
			t.Errorf("%q: got exit code %d, %s%q", answer, code, stderr, f.seenRequests())
		}
	}
	f := newFakeDaemon(t)
	keyboard, terminal := testprogram.OpenTerminal(t)
	r := start([]string{"keys", "revoke", "--key-file=-"}, Deps{Stdin: terminal})
	awaitShowing(t, terminal, false)
	_, _ = io.WriteString(keyboard, "kt_typed\n")
	if code := r.wait(t); code != exitOK || !strings.Contains(strings.Join(f.seenRequests(), ""), `{"key":"kt_typed"}`) {
		t.Errorf("got exit code %d, %s", code, r.stderr)
	}
}

// TestTheKnownKeyIsPromptedFor on a terminal, which does not echo it. Enter alone means
// that there is none.
func TestTheKnownKeyIsPromptedFor(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	a := newAdopter(t, &server.Server, "tokens")
	documents, good, _ := trialTokens(2501)
	a.insert(documents)
	keyboard, terminal := testprogram.OpenTerminal(t)
	for typed, want := range map[string]string{"\n": "and by which algorithm, cannot be seen", good + "\n": "its verdict is VALID, as expected"} {
		r := start(a.proposeArgs("--collection=tokens"), Deps{Stdin: terminal})
		awaitShowing(t, terminal, false)
		_, _ = io.WriteString(keyboard, typed)
		if code := r.wait(t); code != exitOK || !strings.Contains(r.stdout.String()+r.stderr.String(), want) || !echoes(t, terminal) {
			t.Errorf("got exit code %d, want %q\n%s%s", code, want, r.stdout, r.stderr)
		}
	}
}
