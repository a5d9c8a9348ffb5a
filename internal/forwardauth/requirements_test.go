package forwardauth

import (
	"testing"

	"github.com/keytail/keytail/internal/apikey"
)

// TestAKeyIsNoIDAndNoScope: answers, the decision log and the audit repeat these.
func TestAKeyIsNoIDAndNoScope(t *testing.T) {
	t.Parallel()
	key, err := apikey.Generate("acme", nil)
	if err != nil {
		t.Fatal(err)
	}
	for text, wanted := range map[string]bool{key: false, key[:len(key)-1]: true} {
		if got := CheckID("user_id", text); (got == nil) != wanted {
			t.Errorf("an id: got %v, accepted is to be %v", got, wanted)
		}
		if got := CheckScopes([]string{"read", text}); (got == nil) != wanted {
			t.Errorf("a scope: got %v, accepted is to be %v", got, wanted)
		}
	}
}
