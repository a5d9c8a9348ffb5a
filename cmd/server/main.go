// Command server is keytail (cmd/keytail) with another name of the binary.
package main

import (
	"os"

	"github.com/keytail/keytail/internal/program"
)

// The linker may set both, as in cmd/keytail.
var version, commit string

func main() { os.Exit(program.Main(version, commit)) }
