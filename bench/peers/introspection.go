package peers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Introspection answers OAuth 2.0 token introspection (RFC 7662) for API keys: it finds the
// key by its hash in the collection, once for each request. It is what a service has to
// add to its keys so that an introspecting proxy can check them.
func Introspection(keys *mongo.Collection) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		response, err := introspect(r.Context(), keys, r.PostFormValue("token"))
		if err != nil {
			http.Error(w, "the keys cannot be read", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(response) // the client has left if this fails
	})
}

type introspected struct {
	Active bool   `json:"active"`
	Scope  string `json:"scope,omitempty"`
	Sub    string `json:"sub,omitempty"`
	Client string `json:"client_id,omitempty"`
}

func introspect(ctx context.Context, keys *mongo.Collection, token string) (introspected, error) {
	hash := sha256.Sum256([]byte(token))
	var key struct {
		ID     string   `bson:"_id"`
		User   string   `bson:"user_id"`
		Scopes []string `bson:"scopes"`
		Active bool     `bson:"is_active"`
	}
	err := keys.FindOne(ctx, bson.D{{Key: "key_hash", Value: hex.EncodeToString(hash[:])}}).Decode(&key)
	if errors.Is(err, mongo.ErrNoDocuments) || err == nil && !key.Active {
		return introspected{}, nil
	}
	return introspected{Active: true, Scope: strings.Join(key.Scopes, " "), Sub: key.User, Client: key.ID}, err
}
