// Command keytail validates API keys. See README.md, or run it with --help.
package main

import (
	"os"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/cli"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/routes"
)

// The linker sets both where Go cannot read them from git, as in the image:
// -ldflags "-X main.version=v1.2.3 -X main.commit=0123abc".
var version, commit string

func main() {
	routes.UseReleaseMode() // Gin's debug output would mix with the output of --dev
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr, cli.Deps{Version: version, Commit: commit, NewDev: newDev}))
}

// newDev starts the in-memory MongoDB. Only this package connects the daemon to it.
func newDev(addr string, logger *zap.Logger) (cli.DevServer, error) {
	server, err := devmongo.New(devmongo.Config{Addr: addr, Logger: logger.Named("devmongo")})
	if err != nil {
		return nil, err
	}
	return server, nil
}
