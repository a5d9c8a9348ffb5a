package cli

import (
	"context"
	"embed"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// completions has the scripts, which the packages of a release install, too. Each makes
// the shell run the keytail in the PATH for completions (config.Completing).
//
//go:embed completions
var completions embed.FS

func (c *completionCommand) run(_ context.Context, p process, wrong error) int {
	if wrong != nil {
		return usage(p.stderr, wrong)
	}
	script, err := completions.ReadFile("completions/keytail." + c.Shell)
	if err != nil {
		return fail(p.stderr, exitFailure, err)
	}
	out := &screen{Writer: p.stdout}
	out.write(string(script))
	if out.failed != nil {
		return fail(p.stderr, exitFailure, out.failed)
	}
	return exitOK
}
