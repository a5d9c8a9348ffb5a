package resume

import (
	"flag"
	"testing"

	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/routes"
)

func TestMain(m *testing.M) {
	routes.UseReleaseMode()
	goleak.VerifyTestMain(mongotest.Main(m))
}

var (
	full = flag.Bool("resume.full", false, "search every time, every token, and every error at every point, instead of a sample")
	seed = flag.Uint64("resume.seed", 1, "the seed of the writes and of the sample")
	only = flag.String("resume.only", "", "TestEveryErrorAtEveryPoint makes only the failures whose name contains this, such as scan 1: cut before")
)
