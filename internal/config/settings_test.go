package config

import (
	"reflect"
	"strings"
	"testing"
)

// hiddenTexts are the flags of which the settings show no value, or only a part.
var hiddenTexts = []string{"mongodb-uri"}

// TestEveryTextIsEitherOpenOrHidden: whoever adds a flag decides whether its value may be
// shown.
func TestEveryTextIsEitherOpenOrHidden(t *testing.T) {
	t.Parallel()
	open, hidden := section{flags: openTexts}, section{flags: hiddenTexts}
	for _, flag := range modelFlags() {
		if isText(flag.Target) && open.has(flag.Name) == hidden.has(flag.Name) {
			t.Errorf("--%s must be in openTexts, or in hiddenTexts if its value may be secret", flag.Name)
		}
	}
}

// TestSettingsShowNoSecret of a flag, also where a value is not what it should be.
func TestSettingsShowNoSecret(t *testing.T) {
	t.Parallel()
	c, given := mustLoad(t, "serve", "--mongodb-uri=mongodb://ann:s3cret@a:1,b:2/shop?replicaSet=rs0&tlsCertificateKeyFilePassword=s3cret;x=s3cret",
		"--max-stale=9s", "--admin-token-file=/run/tokens", "--key-sources=bearer,cookie:k")
	c.Policies = map[string]Policy{"strict": {}, "open": {}}
	got := map[string]Setting{}
	for _, s := range c.Settings(given) {
		got[s.Name] = s
		if strings.Contains(s.Value, "s3cret") || strings.Contains(s.Value, "ann") {
			t.Errorf("%s shows %q", s.Name, s.Value)
		}
	}
	for _, want := range []Setting{
		{"mongodb-uri", "mongodb://a:1,b:2/shop?replicaSet=…&tlsCertificateKeyFilePassword=…&x=…", true},
		{"max-stale", "9s", true},
		{"heartbeat-interval", "0s", false},
		{"admin-token-file", "/run/tokens", true},
		{"key-sources", "bearer, cookie:k", true},
		{"database", "shop", false},
		{"policies", "open, strict", true},
	} {
		if got[want.Name] != want {
			t.Errorf("got %+v, want %+v", got[want.Name], want)
		}
	}
	if len(got) != len(modelFlags())+1 {
		t.Errorf("%d settings of %d flags", len(got), len(modelFlags()))
	}
}

// TestATextThatNobodyOpenedIsHidden: the value of a flag that openTexts does not have.
func TestATextThatNobodyOpenedIsHidden(t *testing.T) {
	t.Parallel()
	for _, flag := range modelFlags() {
		if flag.Name == "collection" {
			flag.Name = "new-flag"
			flag.Target.Set(reflect.ValueOf("s3cret"))
			if got := shown(flag); got != "set" {
				t.Errorf("shown: %q", got)
			}
		}
	}
}

func TestDescribedURIsHaveNoUserAndNoValues(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		"":                                 "",
		"not a uri":                        "",
		"mongodb+srv://u:p@host":           "mongodb+srv://host",
		"mongodb://u:p@ss@host/db":         "mongodb://host/db",
		"mongodb://host/db?authSource=x&y": "mongodb://host/db?authSource=…&y=…",
	} {
		if got := describeURI(uri); got != want {
			t.Errorf("%s: got %q, want %q", uri, got, want)
		}
	}
}
