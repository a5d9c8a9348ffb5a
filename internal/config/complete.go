package config

import (
	"os"

	"github.com/willabides/kongplete"
)

// Completing reports whether a shell asks for completions instead of running the
// program.
func Completing() bool { return os.Getenv("COMP_LINE") != "" }

// Complete prints the completions, to the standard output that kong was given.
func (p *Parser) Complete() {
	kongplete.Complete(p.kong, kongplete.WithExitFunc(func(int) {}))
}
