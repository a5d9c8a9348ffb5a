package integration

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/service"
)

// liveTimeout is the time after which the test regards the client's options as the reason
// why a service does not become live. An idle machine needs 50 ms.
const liveTimeout = 5 * time.Second

// clientAnomalies are anomalies of a client with other read and write concerns than
// keytail needs, set by the program or the connection string.
func clientAnomalies() []anomaly {
	return []anomaly{{name: "options of the client", shows: []string{"OwnConcerns"}, stage: clientConcerns}}
}

// clientConcerns starts a service on a client that reads locally from secondaries and
// writes to one node. With these options no change stream opens, and no answer comes from
// the cache.
func clientConcerns(t *testing.T, scope string) string {
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	r := &fixture{t: t, server: d.InScope(scope)}
	r.db = d.Client(t, "other-client").Database(d.Database(t))
	r.keys = mongotest.CreateAPIKeys(t, r.db)
	under, err := daemon.New(t.Context(), daemon.Config{Config: service.Config{
		Client: d.Connect(t, d.Options("unfit").
			SetReadConcern(readconcern.Local()).
			SetReadPreference(readpref.SecondaryPreferred()).
			SetWriteConcern(writeconcern.W1())),
		Database: r.db.Name(), StreamScope: changestream.Scope(scope), CacheSizeMiB: 8,
	}})
	if err != nil {
		return err.Error()
	}
	r.Daemon = testkit.Daemon{Daemon: under}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- under.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-under.Live():
	case <-time.After(liveTimeout):
		return "the service did not become live"
	}
	k := r.newKey()
	r.waitForCode(k, apikey.Valid)
	r.set(k, "is_active", false)
	r.waitForCode(k, apikey.Disabled)
	return ""
}
