package apitest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testdata = "github.com/keytail/keytail/internal/apitest/testdata/"

func TestInternalNamesAreFound(t *testing.T) {
	found, err := internalNames(t, "./testdata/leaky")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range found {
		got = append(got, strings.ReplaceAll(strings.TrimPrefix(line, testdata+"leaky: "), testdata+"internal/", ""))
	}
	want := []string{
		"Alias has the internal type hidden.Type",
		"Embedded.Method has the internal type hidden.Type",
		"Field.Exported has the internal type hidden.Type",
		"Func has the internal type hidden.Type",
		"Function has the internal type hidden.Type",
		"Interface.Method has the internal type hidden.Type",
		"Private.Method has the internal type hidden.Pair",
		"Variable has the internal type hidden.Type",
		"the constant Constant is the internal hidden.Name",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownPackageIsAnError(t *testing.T) {
	if _, err := internalNames(t, "./testdata/none"); err == nil || !strings.Contains(err.Error(), "go list ./testdata/none") {
		t.Error(err)
	}
}
