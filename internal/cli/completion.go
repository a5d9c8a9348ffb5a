package cli

import "context"

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// completions are the scripts. Each makes the shell run the keytail in the PATH
// for completions (config.Completing).
var completions = map[string]string{
	"bash": `# keytail completion for bash. To try it: source <(keytail completion bash)
complete -o default -C keytail keytail
`,
	"zsh": `#compdef keytail
# keytail completion for zsh. To try it: source <(keytail completion zsh)
autoload -U +X compinit && compinit
autoload -U +X bashcompinit && bashcompinit
complete -o default -C keytail keytail
`,
	"fish": `# keytail completion for fish. To try it: keytail completion fish | source
function __complete_keytail
    set -lx COMP_LINE (commandline -cp)
    test -z (commandline -ct)
    and set COMP_LINE "$COMP_LINE "
    keytail
end
complete -f -c keytail -a "(__complete_keytail)"
`,
}

func (c *completionCommand) run(_ context.Context, p process, wrong error) int {
	if wrong != nil {
		return usage(p.stderr, wrong)
	}
	out := &screen{Writer: p.stdout}
	out.write(completions[c.Shell])
	if out.failed != nil {
		return fail(p.stderr, exitFailure, out.failed)
	}
	return exitOK
}
