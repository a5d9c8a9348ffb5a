// Command devmongod serves the embedded MongoDB in its own process, to run tests
// on a server in another process (docs/testing.md):
//
//	go run ./internal/devmongo/devmongod -addr 127.0.0.1:27128 -release 4.4 -lag 20ms
//	KEYTAIL_TEST_MONGODB_URI='mongodb://127.0.0.1:27128/?replicaSet=devmongo' go test ./...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/timing"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "devmongod:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("devmongod", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:0", "host:port to listen on")
	release := flags.String("release", "7.0", "the version to behave like: 4.4 or 7.0")
	lag := flags.Duration("lag", 0, "how long the majority lags behind, repeatedly; 0: never")
	switch err := flags.Parse(args); {
	case err != nil:
		return err
	case *release != "4.4" && *release != "7.0":
		return errors.New("-release must be 4.4 or 7.0")
	}
	server, err := devmongo.New(devmongo.Config{Addr: *addr, Release44: *release == "4.4"})
	if err != nil {
		return err
	}
	fmt.Println(server.URI())
	if *lag > 0 {
		go lagMajority(ctx, server, *lag)
	}
	return server.Run(ctx)
}

// lagMajority makes the majority lag most of the time. A write that does not wait for
// the majority is then not visible to majority reads immediately.
func lagMajority(ctx context.Context, server *devmongo.Server, lag time.Duration) {
	const parts = 5 // the majority catches up for a fifth of the lag
	for ctx.Err() == nil {
		server.HoldMajority()
		timing.Sleep(ctx, lag)
		server.ReleaseMajority()
		timing.Sleep(ctx, lag/parts)
	}
}
