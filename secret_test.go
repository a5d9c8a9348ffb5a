package keytail

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestAConfigShowsNoSecret, however it is printed.
func TestAConfigShowsNoSecret(t *testing.T) {
	t.Parallel()
	const pepper = "pepper of the test"
	config := struct{ HashSecret Secret }{Config{HashSecret: []byte(pepper)}.HashSecret}
	var all bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&all, verb+"\n"+verb+"\n", config, config.HashSecret)
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	all.Write(text)
	for _, handler := range []slog.Handler{slog.NewTextHandler(&all, nil), slog.NewJSONHandler(&all, nil)} {
		slog.New(handler).Info("a test", "config", config, "secret", config.HashSecret)
	}
	shown := strings.ToLower(all.String())
	for _, secret := range []string{pepper, hex.EncodeToString([]byte(pepper)), fmt.Sprint([]byte(pepper))[1:30], "cgvwcgvyig9mihrozsb0zxn0"} {
		if strings.Contains(shown, secret) {
			t.Errorf("%q is in:\n%s", secret, all.String())
		}
	}
	if n := strings.Count(shown, hidden); n < 20 {
		t.Errorf("the secret was shown %d times:\n%s", n, all.String())
	}
}
