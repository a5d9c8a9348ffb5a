package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"golang.org/x/term"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/adminclient"
	"github.com/keytail/keytail/internal/secretfile"
)

// maxKeyText is more than the longest key (512 bytes) with its line break.
const maxKeyText = 1 << 10

type verifyCommand struct {
	URL       string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The public listener of a running keytail."`
	TokenFile string `env:"-" placeholder:"FILE" help:"File with a caller token, or one line of name=token, where the listener wants one. Or the token itself in KEYTAIL_CALLER_TOKEN."`
	connection
	KeyFile     string   `env:"-" placeholder:"FILE" help:"File with the key. Default: it is read from standard input."`
	Scopes      []string `env:"-" placeholder:"SCOPE" help:"What the key is needed for, separated by commas: all of them."`
	OrgID       string   `name:"org-id" env:"-" placeholder:"ID" help:"The organisation that it is for."`
	ProjectID   string   `name:"project-id" env:"-" placeholder:"ID" help:"The project that it is for."`
	IP          string   `name:"ip" env:"-" placeholder:"ADDRESS" help:"The address of the client."`
	MinRevision string   `env:"-" placeholder:"REVISION" help:"The answer must not be older than this write."`
	Quiet       bool     `short:"q" env:"-" help:"Print the code and nothing else."`
	// InArgv catches a key in the wrong place, which kong would quote.
	InArgv []string `arg:"" optional:"" hidden:""`
}

func (c *verifyCommand) run(ctx context.Context, p process, wrong error) int {
	token, err := readToken(c.TokenFile, envCallerToken)
	if token != "" {
		err = inTheClear("url", c.URL)
	}
	wrong = errors.Join(wrong, err)
	if len(c.InArgv) > 0 {
		wrong = errors.Join(wrong, errors.New("a key is not taken from the command line, where others may see it: give it on standard input, or by --key-file"))
	}
	var key string
	if wrong == nil {
		key, wrong = c.key(ctx, p)
		if stopped(ctx, wrong) {
			return fail(p.stderr, exitFailure, errors.New("interrupted"))
		}
	}
	return c.connection.run(ctx, p, wrong, server{"url", c.URL, token}, func(ctx context.Context, s *session) error {
		v, err := s.Verify(ctx, api.VerifyRequest{
			Key: key, Scopes: texts(c.Scopes), OrgID: c.OrgID, ProjectID: c.ProjectID, IP: c.IP, MinRevision: c.MinRevision,
		})
		var refused *adminclient.Error
		if errors.As(err, &refused) && refused.Code != "" {
			return fmt.Errorf("%s: %w", plain(string(refused.Code)), err)
		}
		if err != nil {
			return err
		}
		s.verdict(v, c.Quiet)
		if !v.Valid {
			return errNo
		}
		return nil
	})
}

func (s *session) verdict(v *adminclient.Verdict, quiet bool) {
	if s.json {
		s.out.object(v.Raw)
		return
	}
	if s.quietly(quiet, v.Code) {
		return
	}
	staleness := ""
	if v.StalenessMS != nil {
		staleness = fmt.Sprintf("%d ms", *v.StalenessMS)
	}
	s.out.record([][2]string{
		{"code", v.Code},
		{"key id", v.KeyID},
		{"name", v.Name},
		{"user", v.UserID},
		{"organisation", value(v.OrgID)},
		{"project", value(v.ProjectID)},
		{"scopes", strings.Join(v.Scopes, " ")},
		{"expires", instantOrNone(v.ExpiresAt)},
		{"metadata", metadataText(v.Metadata)},
		{"source", v.Source},
		{"staleness", staleness},
		{"revision", v.Revision},
	}...)
}

// key reads the one to ask about. Nothing of it is in an error.
func (c *verifyCommand) key(ctx context.Context, p process) (string, error) {
	var content []byte
	var err error
	switch stdin := p.stdin(); {
	case c.KeyFile != "":
		content, err = secretfile.Read(c.KeyFile)
		err = ofFlag("key-file", err)
	case isPrompt(stdin):
		content, err = askUnseen(ctx, p.stderr, int(stdin.(*os.File).Fd()))
	default:
		content, err = io.ReadAll(io.LimitReader(stdin, maxKeyText+1))
	}
	if err != nil {
		return "", fmt.Errorf("the key cannot be read: %w", err)
	}
	if content = bytes.TrimSpace(content); len(content) > maxKeyText || bytes.ContainsAny(content, "\r\n") {
		return "", errors.New("what is to be verified must be one line with a key")
	}
	return string(content), nil
}

// askUnseen reads a line that the terminal does not show. Ctrl-C ends it, and the
// terminal shows again what is typed.
func askUnseen(ctx context.Context, stderr io.Writer, terminal int) ([]byte, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return nil, err
	}
	type line struct {
		content []byte
		err     error
	}
	read := make(chan line, 1)
	_, _ = fmt.Fprint(stderr, "key: ")
	// What is read from a terminal cannot be cut off: the process ends first.
	go func() {
		content, err := term.ReadPassword(terminal)
		read <- line{content, err}
	}()
	defer func() { _, _ = fmt.Fprintln(stderr) }()
	select {
	case got := <-read:
		return got.content, got.err
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), term.Restore(terminal, before))
	}
}

// isPrompt reports whether somebody can be asked.
func isPrompt(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// stdin is the process's own unless a test has another.
func (p process) stdin() io.Reader {
	if p.deps.Stdin != nil {
		return p.deps.Stdin
	}
	return os.Stdin
}
