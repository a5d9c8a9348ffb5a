package apikey

import (
	"os/exec"
	"strings"
	"testing"
)

func TestNamesOnTheWire(t *testing.T) {
	t.Parallel()
	codes := map[Code]string{
		Unavailable: "UNAVAILABLE", Missing: "MISSING", Malformed: "MALFORMED", NotFound: "NOT_FOUND",
		Disabled: "DISABLED", Expired: "EXPIRED", Forbidden: "FORBIDDEN",
		InsufficientPermissions: "INSUFFICIENT_PERMISSIONS", Valid: "VALID",
		Code(CodeCount): "UNAVAILABLE", Code(255): "UNAVAILABLE",
	}
	for code, want := range codes {
		if got := code.String(); got != want {
			t.Errorf("code %d is %q, want %q", uint8(code), got, want)
		}
	}
	if len(codes) != CodeCount+2 {
		t.Errorf("%d codes are tested, there are %d", len(codes)-2, CodeCount)
	}
	for source, want := range map[Source]string{
		SourceNone: "", SourceCache: "cache", SourceFill: "fill", SourceDirect: "direct",
		SourceLinearizable: "linearizable", Source(SourceCount): "",
	} {
		if got := source.String(); got != want {
			t.Errorf("source %d is %q, want %q", uint8(source), got, want)
		}
	}
}

// The package must depend on the standard library only (doc.go).
func TestImportsTheStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		"{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const self = "github.com/keytail/keytail/internal/apikey"
	if got := strings.TrimSpace(string(out)); got != self {
		t.Errorf("imports from outside the standard library: %s", got)
	}
}
