package cli

import (
	"strings"
	"testing"
)

// TestListRefusesAnEmptyOwner: a variable of a script that is empty does not list
// everybody's keys, and nothing is sent.
func TestListRefusesAnEmptyOwner(t *testing.T) {
	f := newFakeDaemon(t)
	for _, flag := range []string{"--user-id", "--org-id", "--project-id"} {
		code, stdout, stderr := finish(t, Deps{}, "keys", "list", "--quiet", flag+"=")
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, flag+" is empty") {
			t.Errorf("%s: got exit code %d, %q, %q", flag, code, stdout, stderr)
		}
	}
	if asked := f.seenRequests(); len(asked) != 0 {
		t.Errorf("requests: got %q", asked)
	}
}
