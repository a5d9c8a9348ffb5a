package openapitest

import "testing"

func TestABodyThatDiffersFromItsSchemaIsReported(t *testing.T) {
	d := Load(t)
	schema := d.Schema(t, "Verdict")
	for text, differs := range map[string]bool{
		`{"valid":true,"code":"VALID"}`: false, `{"valid":1,"code":"VALID"}`: true, `{"valid":true}`: true, `{"valid":true,"code":"VALID","more":1}`: true,
	} {
		if problems := d.Body(schema, []byte(text)); (len(problems) > 0) != differs {
			t.Errorf("%s: %v", text, problems)
		}
	}
}

func TestTheDocumentIsOpenAPI(t *testing.T) {
	d := Load(t)
	if n := len(d.Operations(t, "admin")); n < 10 {
		t.Errorf("%d operations of the admin listener, want 10 or more", n)
	}
}
