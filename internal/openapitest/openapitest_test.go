package openapitest

import "testing"

func TestTheDocumentIsOpenAPI(t *testing.T) {
	d := Load(t)
	if n := len(d.Operations(t, "admin")); n < 10 {
		t.Errorf("%d operations of the admin listener", n)
	}
}
