package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"golang.org/x/term"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/adminclient"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/secretfile"
)

// maxKeyText is more than the longest key (512 bytes) with its line break.
const maxKeyText = 1 << 10

type verifyCommand struct {
	URL       string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The public listener of a running keytail."`
	TokenFile string `env:"-" placeholder:"FILE" help:"File with a caller token, or with one line of name=token, if the listener requires one. KEYTAIL_CALLER_TOKEN can have the token instead."`
	connection
	KeyFile string `env:"-" placeholder:"FILE" help:"File with the key. Default, and -: standard input."`
	requirementFlags
	MinRevision string `env:"-" placeholder:"REVISION" help:"The verdict must include the write with this revision."`
	Quiet       bool   `short:"q" env:"-" help:"Print the code and nothing else."`
	// InArgv catches a key in the wrong place, which kong would quote.
	InArgv []string `arg:"" optional:"" hidden:""`
}

func (c *verifyCommand) run(ctx context.Context, p process, wrong error) int {
	token, err := readToken(c.TokenFile, envCallerToken)
	switch insecure := checkEncrypted("url", c.URL); {
	case insecure == nil:
	case token != "":
		err = insecure
	case err == nil:
		p.note("warning: --url is plain HTTP to another machine, and the key crosses the network unencrypted: use https, or a tunnel to this machine")
	}
	wrong = errors.Join(wrong, err)
	if len(c.InArgv) > 0 {
		wrong = errors.Join(wrong, errors.New("a key on the command line is visible to other users: pass it on standard input, or with --key-file"))
	}
	wrong = errors.Join(wrong, c.checkIDs())
	var key string
	if wrong == nil {
		key, wrong = readKey(ctx, p, c.KeyFile, keyPrompt)
		if stopped(ctx, wrong) {
			return fail(p.stderr, exitFailure, errors.New("interrupted"))
		}
	}
	return c.connection.run(ctx, p, wrong, server{"url", c.URL, token}, func(ctx context.Context, s *session) error {
		v, err := s.Verify(ctx, api.VerifyRequest{
			Key: key, Scopes: texts(c.Scopes), OrgID: value(c.OrgID), ProjectID: value(c.ProjectID),
			RequireOrg: c.RequireOrg, RequireProject: c.RequireProject, IP: c.IP, MinRevision: c.MinRevision,
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
	s.out.record([][2]string{
		{"code", v.Code},
		{"reason", v.Reason},
		{"key id", v.KeyID},
		{"name", v.Name},
		{"user", v.UserID},
		{"organisation", value(v.OrgID)},
		{"project", value(v.ProjectID)},
		{"scopes", strings.Join(v.Scopes, " ")},
		{"expires", instantOrNone(v.ExpiresAt)},
		{"metadata", metadataText(v.Metadata)},
		{"source", v.Source},
		{"staleness", millisecondsText(v.StalenessMS)},
		{"revision", v.Revision},
	}...)
}

// keyPrompt asks a person for a key.
const keyPrompt = "key: "

// readKey reads a key from a file, or from standard input if file is "" or "-", where
// a person sees the prompt. No error contains any part of it.
func readKey(ctx context.Context, p process, file, prompt string) (string, error) {
	var content []byte
	var err error
	switch stdin := p.stdin(); {
	case apikey.IsGenerated(file):
		return "", errors.New("--key-file: this is a key and not a file. Other users may have seen it on the command line: pass it on standard input (--key-file -), and then rotate it")
	case file != "" && file != "-":
		content, err = secretfile.Read(file)
		if errors.Is(err, fs.ErrNotExist) && mayBeKey(file) {
			err = errors.New("there is no file with this name, which is not shown because it may be a key")
		}
		err = ofFlag("key-file", err)
	case isTTY(stdin):
		content, err = promptHidden(ctx, p.stderr, int(stdin.(*os.File).Fd()), prompt)
	default:
		content, err = io.ReadAll(io.LimitReader(stdin, maxKeyText+1))
	}
	if err != nil {
		return "", fmt.Errorf("reading the key: %w", err)
	}
	if content = bytes.TrimSpace(content); len(content) > maxKeyText || bytes.ContainsAny(content, "\r\n") {
		return "", errors.New("the input must be one line with a key")
	}
	return string(content), nil
}

// mayBeKey reports whether the name of a file that does not exist looks more like a
// key, of any maker, than like a path.
func mayBeKey(name string) bool {
	const short = 16 // fewer characters are no random key
	return len(name) >= short && !strings.ContainsAny(name, `/\.`)
}

// promptHidden reads a line that the terminal does not show. Ctrl-C ends it and
// restores the terminal.
func promptHidden(ctx context.Context, stderr io.Writer, terminal int, prompt string) ([]byte, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return nil, err
	}
	type line struct {
		content []byte
		err     error
	}
	read := make(chan line, 1)
	_, _ = fmt.Fprint(stderr, prompt)
	// A read from a terminal cannot be interrupted: the process ends first.
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

// isTTY reports whether a person is at the other end of a reader or writer.
func isTTY(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// stdin is the process's own unless a test has another.
func (p process) stdin() io.Reader {
	if p.deps.Stdin != nil {
		return p.deps.Stdin
	}
	return os.Stdin
}

// checkNamed refuses an empty id, such as "$ORG" in a script that has no value: without it,
// the request would be for what the key is bound to.
func checkNamed(flag string, id *string) error {
	if id != nil && *id == "" {
		return ofFlag(flag, errors.New("the id is empty: give one, or leave the flag out"))
	}
	return nil
}
