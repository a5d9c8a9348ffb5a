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

// Policy is a named set of requirements. The zero value requires a valid key and
// nothing more.
type Policy struct {
	// Scopes must all be granted by the key.
	Scopes []string
	// OrgID and ProjectID are those of the request: a key that is bound to others is
	// refused. Empty: the request names none, and is for the key's own.
	OrgID, ProjectID string
	// RequireOrg and RequireProject refuse a key that is bound if OrgID (ProjectID) is
	// empty: only keys that are not bound pass.
	RequireOrg, RequireProject bool
}

// policyName is unreserved in a URL, so that a name has only one spelling.
var policyName = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)

// CheckPolicy returns what is wrong with a policy, one error for each mistake.
func CheckPolicy(name string, policy Policy) error {
	var mistakes []error
	wrong := func(err error) {
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("policy %q: %w", name, err))
		}
	}
	switch {
	case !policyName.MatchString(name):
		wrong(errors.New("a name must have 1 to 64 letters, digits or the characters . _ ~ -"))
	case strings.Trim(name, ".") == "":
		wrong(errors.New("a name must not consist of dots only, because proxies remove such a path segment"))
	}
	if len(policy.Scopes) > MaxScopes {
		wrong(fmt.Errorf("at most %d scopes are allowed", MaxScopes))
	}
	for i, scope := range policy.Scopes {
		wrong(apikey.ValidScope(scope))
		if slices.Contains(policy.Scopes[:i], scope) {
			wrong(fmt.Errorf("the scope %q is repeated", scope))
		}
	}
	for field, id := range map[string]string{"org_id": policy.OrgID, "project_id": policy.ProjectID} {
		if err := apikey.ValidID(id); id != "" && err != nil {
			wrong(fmt.Errorf("%s: %w", field, err))
		}
	}
	return errors.Join(mistakes...)
}

// requirementsOf prepares the requirements of the policies, so that a request
// costs a map lookup.
func requirementsOf(policies map[string]Policy) (map[string]apikey.Request, error) {
	prepared := make(map[string]apikey.Request, len(policies))
	var mistakes []error
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		policy := policies[name]
		mistakes = append(mistakes, CheckPolicy(name, policy))
		prepared[name] = apikey.Request{
			Scopes: slices.Clone(policy.Scopes), OrgID: policy.OrgID, ProjectID: policy.ProjectID,
			RequireOrg: policy.RequireOrg, RequireProject: policy.RequireProject,
		}
	}
	return prepared, errors.Join(mistakes...)
}
