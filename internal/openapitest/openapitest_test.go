package openapitest

import "testing"

func TestDocumentIsValidOpenAPI(t *testing.T) {
	d := Load(t)
	if n := len(d.Operations(t, "admin")); n < 10 {
		t.Errorf("%d operations of the admin listener, want 10 or more", n)
	}
}
