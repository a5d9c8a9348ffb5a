package forwardauth

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/keytail/keytail/internal/apikey"
)

// Policy is what requests need that are asked about by its name. The zero value
// wants a valid key and no more.
type Policy struct {
	// Scopes must all be held.
	Scopes []string
	// OrgID and ProjectID are those of the request, which a bound key must match.
	// Empty: the request has none, and a bound key is refused.
	OrgID, ProjectID string
}

// policyName is unreserved in a URL, so that a name has one spelling only.
var policyName = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)

// CheckPolicy says what is wrong with a policy, one sentence a mistake.
func CheckPolicy(name string, policy Policy) error {
	var mistakes []error
	wrong := func(err error) {
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("policy %q: %w", name, err))
		}
	}
	switch {
	case !policyName.MatchString(name):
		wrong(errors.New("a name has 1 to 64 letters, digits and the signs . _ ~ -"))
	case strings.Trim(name, ".") == "":
		wrong(errors.New("a name of dots alone is a step in a path, which proxies take out"))
	}
	if len(policy.Scopes) > MaxScopes {
		wrong(fmt.Errorf("at most %d scopes can be asked for", MaxScopes))
	}
	for i, scope := range policy.Scopes {
		wrong(apikey.ValidScope(scope))
		if slices.Contains(policy.Scopes[:i], scope) {
			wrong(fmt.Errorf("the scope %q stands there twice", scope))
		}
	}
	for field, id := range map[string]string{"org_id": policy.OrgID, "project_id": policy.ProjectID} {
		if err := apikey.ValidID(id); id != "" && err != nil {
			wrong(fmt.Errorf("%s: %w", field, err))
		}
	}
	return errors.Join(mistakes...)
}

// requirementsOf prepares what the policies' requests need, so that a request
// costs a look-up.
func requirementsOf(policies map[string]Policy) (map[string]apikey.Request, error) {
	prepared := make(map[string]apikey.Request, len(policies))
	var mistakes []error
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		policy := policies[name]
		mistakes = append(mistakes, CheckPolicy(name, policy))
		prepared[name] = apikey.Request{Scopes: slices.Clone(policy.Scopes), OrgID: policy.OrgID, ProjectID: policy.ProjectID}
	}
	return prepared, errors.Join(mistakes...)
}
