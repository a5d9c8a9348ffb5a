package integration

import (
	"slices"
	"testing"

	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestADaemonCreatesTheIndexesForLists while it answers, if it may create what is missing.
func TestADaemonCreatesTheIndexesForLists(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := startAdmin(t, s, shapes()["default"], func(c *daemon.Config) { c.EnsureSchema = true })
		wanted := []string{"created_at_-1__id_-1", "user_id_1_created_at_-1__id_-1", "org_id_1_created_at_-1__id_-1", "project_id_1_created_at_-1__id_-1"}
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
			specs, err := r.keys.Indexes().ListSpecifications(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, spec := range specs {
				names = append(names, spec.Name)
			}
			return !slices.ContainsFunc(wanted, func(name string) bool { return !slices.Contains(names, name) })
		}, "the indexes do not exist")
	})
}
