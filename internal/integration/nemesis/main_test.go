package nemesis

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/routes"
)

func TestMain(m *testing.M) {
	routes.UseReleaseMode()
	goleak.VerifyTestMain(mongotest.Main(m), testkit.ToxiproxyLeaks()...)
}
