package peers

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestKubernetesSendsADeletionToWatches(t *testing.T) {
	k, err := NewKubernetes([]string{"first", "second"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	const secrets = "/api/v1/namespaces/default/secrets"
	var list struct {
		Metadata struct{ ResourceVersion string }
		Items    []struct{ Data map[string][]byte }
	}
	get(t, server, secrets).decode(t, &list)
	if len(list.Items) != 2 || len(list.Items[0].Data["api_key"]) < len("first") {
		t.Fatalf("the list is %+v", list)
	}
	watch := get(t, server, secrets+"?watch=true&resourceVersion="+list.Metadata.ResourceVersion)
	if err := k.DeleteSecret(1); err != nil {
		t.Fatal(err)
	}
	var event struct {
		Type   string
		Object struct{ Metadata struct{ Name string } }
	}
	watch.decode(t, &event)
	if event.Type != "DELETED" || event.Object.Metadata.Name != "key-1" {
		t.Errorf("the watch received %+v", event)
	}
	if err := k.DeleteSecret(1); err == nil {
		t.Error("a secret was deleted twice")
	}
}

func TestKubernetesStoresAStatus(t *testing.T) {
	k, err := NewKubernetes(nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	path := "/apis/" + authConfigGroup + "/namespaces/default/authconfigs"
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+path+"/api/status", strings.NewReader(`{"metadata": {"name": "api"}, "status": {"ready": true}}`))
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	var list struct {
		Items []struct{ Status struct{ Ready bool } }
	}
	get(t, server, path).decode(t, &list)
	if len(list.Items) != 1 || !list.Items[0].Status.Ready {
		t.Errorf("the list is %+v", list)
	}
	if got := get(t, server, "/api/v1/namespaces/default/pods"); got.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown resource gets %s", got.Status)
	}
}

// response is closed at the end of the test.
type response struct{ *http.Response }

func get(t *testing.T, server *httptest.Server, path string) response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := *server.Client()
	client.Timeout = 10 * time.Second // for a watch that receives nothing
	got, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = got.Body.Close() })
	return response{got}
}

// decode reads the first JSON value of the body.
func (r response) decode(t *testing.T, to any) {
	t.Helper()
	if err := json.NewDecoder(r.Body).Decode(to); err != nil {
		t.Fatal(err)
	}
}

func TestIntrospectionFindsActiveKeys(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	keys := server.Client(t).Database("peers").Collection("api_keys")
	for key, active := range map[string]bool{"active": true, "revoked": false} {
		hash := sha256.Sum256([]byte(key))
		_, err := keys.InsertOne(t.Context(), bson.D{
			{Key: "_id", Value: key},
			{Key: "key_hash", Value: hex.EncodeToString(hash[:])},
			{Key: "is_active", Value: active},
			{Key: "scopes", Value: []string{"orders:read", "orders:write"}},
			{Key: "user_id", Value: "user-1"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	introspection := httptest.NewServer(Introspection(keys))
	defer introspection.Close()
	for key, want := range map[string]string{
		"active":  `{"active":true,"scope":"orders:read orders:write","sub":"user-1","client_id":"active"}`,
		"revoked": `{"active":false}`, "unknown": `{"active":false}`,
	} {
		got, err := http.PostForm(introspection.URL, url.Values{"token": {key}})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(got.Body)
		_ = got.Body.Close()
		if err != nil || strings.TrimSpace(string(body)) != want {
			t.Errorf("%s: got %s (%v), want %s", key, body, err, want)
		}
	}
}

func TestTokensAreSigned(t *testing.T) {
	issuer, err := NewIssuer("http://issuer.example", "api")
	if err != nil {
		t.Fatal(err)
	}
	token, err := issuer.Token(3, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	text, err := issuer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[at+1:])
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(token[:at]))
	if err := rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), crypto.SHA256, digest[:], signature); err != nil {
		t.Error(err)
	}
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil || !strings.Contains(string(claims), `"sub":"user-0000003"`) {
		t.Errorf("the claims are %s (%v)", claims, err)
	}
}
