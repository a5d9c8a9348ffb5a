// Package program is the keytail program: the command line, with the in-memory MongoDB
// of --dev. The mains in cmd/keytail and cmd/server differ in the name of the binary
// alone.
package program

import (
	"os"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/cli"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/routes"
)

// Main runs the command of the process's arguments and returns its exit code. The
// linker sets version and commit in the mains; empty strings mean what Go has recorded
// in the binary.
func Main(version, commit string) int {
	routes.UseReleaseMode() // Gin's debug output would mix with the output of --dev
	return cli.Main(os.Args[1:], os.Stdout, os.Stderr, cli.Deps{Version: version, Commit: commit, NewDev: newDev})
}

// newDev starts the in-memory MongoDB. Only this package connects the daemon to it.
func newDev(addr string, logger *zap.Logger) (cli.DevServer, error) {
	server, err := devmongo.New(devmongo.Config{Addr: addr, Logger: logger.Named("devmongo")})
	if err != nil {
		return nil, err
	}
	return server, nil
}
