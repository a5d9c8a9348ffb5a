package extauthz

import (
	"testing"

	"github.com/keytail/keytail/internal/alloctest"
	"github.com/keytail/keytail/internal/forwardauth"
)

// TestHeadersWithoutAValueCostNothing: a message for each of them, and one for its value,
// would be allocated. The response lists their names instead.
func TestHeadersWithoutAValueCostNothing(t *testing.T) {
	all, err := forwardauth.ParseIdentity(forwardauth.IdentityHeaders())
	if err != nil {
		t.Fatal(err)
	}
	cost := func(identity forwardauth.Identity) (headers int, allocations float64) {
		s := newServer(t, options{identity: identity})
		r := rawRequest("/a", "x-api-key", keyRoot, "x-request-id", "from-the-client")
		headers = len(check(t, s, r).GetOkResponse().GetHeaders())
		return headers, alloctest.PerCall(func() { check(t, s, r) })
	}
	headers, allocations := cost(forwardauth.Identity{})
	allHeaders, allAllocations := cost(all)
	t.Logf("%d headers and %v allocations; with all identity headers %d and %v", headers, allocations, allHeaders, allAllocations)
	// Key, user, scopes and the request id; and for the others two allocations each.
	if headers != 4 || allHeaders != 6 || allAllocations-allocations < 4 {
		t.Errorf("%d headers and %v allocations, with all identity headers %d and %v", headers, allocations, allHeaders, allAllocations)
	}
}
