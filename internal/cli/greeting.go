package cli

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/secretfile"
	"github.com/keytail/keytail/internal/seed"
)

// printGreeting prints commands for a first try. Each works when it is pasted.
func (d *serveRun) printGreeting(p parts) error {
	w := greeting{
		mongoDB: p.dev.URI(), public: p.listeners.url(config.Public), operations: p.listeners.url(config.Operations),
		admin: p.listeners.url(config.Admin), moved: d.moved,
		program: program(), tokenFile: d.cfg.AdminTokenFile, callers: d.cfg.CallerTokenFile,
		playground: config.Loopback(d.cfg.AdminAddr),
	}
	if isTTY(d.stdout) {
		w.token = d.madeToken
	}
	for name, example := range map[string]*seed.Example{seed.Valid: &w.valid, seed.Expired: &w.expired, seed.Scoped: &w.scoped} {
		found, err := seed.Find(name)
		if err != nil {
			return err
		}
		*example = found
	}
	return w.print(d.stdout)
}

// program is the command that starts this binary again, as a shell reads it:
// keytail if that is what the PATH finds, else its path.
func program() string {
	executable, err := os.Executable()
	if err != nil {
		return "keytail"
	}
	if found, err := exec.LookPath("keytail"); err == nil && secretfile.IsSame(found, executable) {
		return "keytail"
	}
	return quoteShell(executable)
}

// greeting has the values in the text of --dev.
type greeting struct {
	mongoDB, public, operations, admin string
	// moved are the addresses that are not the default ones.
	moved []move
	// program is this binary, for the shell.
	program string
	// tokenFile has the admin token. token is the text of a token that --dev has
	// made, if a person sees it: a script may store what it reads. Empty: a person
	// finds it in the file.
	tokenFile, token string
	// playground: the admin listener serves it.
	playground bool
	// callers is the file with the caller tokens. Empty: verify requires none.
	callers                string
	valid, expired, scoped seed.Example
}

func (w greeting) print(out io.Writer) error {
	_, err := fmt.Fprintf(out, `
keytail is ready, with an in-memory MongoDB and 200 sample keys (testdata/README.md). Nothing is stored.

  MongoDB     %s
  public      %s  (POST /v1/keys/verify, /v1/auth, /livez)
  operations  %s  (/livez, /readyz, /metrics)
  admin       %s  (status page, admin API)
%s
A valid key:
%s

An expired key:
%s

A key refused for its scope:
%s

Create a key, which is shown this once:
%s

Revoke the valid key, then validate it again. Any MongoDB client can revoke it, too:
%s

%sThe pages of status and keys are at %s. Sign in with the token:
%s

Ctrl-C stops.
`, w.mongoDB, w.public, w.operations, w.admin, w.moves(),
		w.curl(w.valid, ""), w.curl(w.expired, ""), w.curl(w.scoped, `,"scopes":["orders:write"]`),
		w.keys("create --user-id ada --scopes orders:read --wait fleet"), w.keys("revoke "+w.valid.ID+" --wait fleet"), w.play(), w.admin, w.password())
	return err
}

// play names the playground.
func (w greeting) play() string {
	if !w.playground {
		return ""
	}
	return "Revoke keys and break MongoDB, and see what keytail and a TTL cache answer:\n" + w.admin + "/playground\n\n"
}

// moves has one line for each address that is not the default one.
func (w greeting) moves() string {
	var b strings.Builder
	for _, m := range w.moved {
		fmt.Fprintf(&b, "\n%s", m)
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}

// curl validates a key. more is JSON after the key.
func (w greeting) curl(example seed.Example, more string) string {
	token := ""
	if w.callers != "" {
		token = fmt.Sprintf(` -H "Authorization: Bearer $(sed -n 's/^[^#=][^=]*=\([^[:space:]]*\).*/\1/p' %s | head -n 1)"`, quoteShell(w.callers))
	}
	return fmt.Sprintf(`curl -s -w '\n' %s/v1/keys/verify%s -H 'Content-Type: application/json' -d '{"key":"%s"%s}'`, w.public, token, example.Key, more)
}

// keys is a command that manages keys, with everything that it needs.
func (w greeting) keys(command string) string {
	return fmt.Sprintf("%s keys %s --admin-url %s --token-file %s", w.program, command, w.admin, quoteShell(w.tokenFile))
}

func (w greeting) password() string {
	if w.token != "" {
		return w.token
	}
	return "the token in " + w.tokenFile + ", which is the text between the first '=' and the space"
}

// needsNoQuotes matches what a shell takes as it is.
var needsNoQuotes = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=-]+$`)

// quoteShell writes text as one word for a POSIX shell.
func quoteShell(text string) string {
	if needsNoQuotes.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
