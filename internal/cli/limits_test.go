package cli

import (
	"testing"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/connlimit"
	"github.com/keytail/keytail/internal/mongoclient"
)

// TestDescriptorsAreReservedForTwoPrimaries: after an election the driver has connections to
// the former primary beside those to the new one. The error of a limit that does not fit
// says how many descriptors are reserved.
func TestDescriptorsAreReservedForTwoPrimaries(t *testing.T) {
	const tooMany = 1 << 40
	settings, err := mongoclient.ForURI("mongodb://db.example.org/?maxPoolSize=30&tls=true")
	if err != nil {
		t.Fatal(err)
	}
	_, want := connlimit.Divide(connlimit.Need{Descriptors: connlimit.Descriptors(), Database: 2 * 30, Requested: tooMany})
	run := serveRun{cfg: &config.Config{MaxConnections: tooMany}}
	if err := run.divideDescriptors(database{Settings: settings}); err == nil || want == nil || err.Error() != want.Error() {
		t.Errorf("got %v, want %v", err, want)
	}
}
