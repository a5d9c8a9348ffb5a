package integration

import (
	"net/http"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/routes"
)

// TestKeysThatAreAboutToExpireAreNoticed: a metric counts them, and the admin listener
// reports each of them. Callers are not told.
func TestKeysThatAreAboutToExpireAreNoticed(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s, withAdmin(t), func(c *daemon.Config) { c.AuditInterval, c.ExpiryNotice = 100*time.Millisecond, 48*time.Hour })
		public, err := routes.NewPublic(routes.PublicConfig{
			Config: forwardauth.Config{Validator: unusedValidator{}}, Events: r.Events(), Callers: soleCaller(""),
		})
		if err != nil {
			t.Fatal(err)
		}
		admin := follow(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			request.Header.Set("Authorization", "Bearer admin-token-of-ann")
			r.Admin().ServeHTTP(w, request)
		}))
		caller := follow(t, public)
		admin.expect("resync", "")
		caller.expect("resync", "")

		at := time.Now().UTC().Add(24 * time.Hour).Truncate(time.Second)
		soon := r.newKey(bson.E{Key: "expires_at", Value: at})
		later := r.newKey(bson.E{Key: "expires_at", Value: at.Add(48 * time.Hour)})
		admin.until("expiring", `{"key_id":"`+soon.id+`","expires_at":"`+at.Format(time.RFC3339)+`"}`)
		counts := func(want float64) {
			t.Helper()
			mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_keys_expiring") == want }, "the metric does not change")
		}
		counts(1)
		r.set(later, "expires_at", at)
		admin.until("expiring", `{"key_id":"`+later.id+`"`)
		counts(2)
		r.set(soon, "is_active", false)
		counts(1)
		for _, id := range []string{soon.id, later.id, later.id, soon.id} {
			caller.expect("invalidation", `{"key_id":"`+id+`"`)
		}
	})
}
