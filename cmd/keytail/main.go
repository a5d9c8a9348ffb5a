// Command keytail validates API keys. See README.md, or run it with --help.
package main

import (
	"os"

	"github.com/keytail/keytail/internal/program"
)

// The linker sets both where Go cannot read them from git, as in the image, and in
// releases: -ldflags "-X main.version=v1.2.3 -X main.commit=0123abc".
var version, commit string

func main() { os.Exit(program.Main(version, commit)) }
