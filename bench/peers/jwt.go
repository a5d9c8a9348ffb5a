package peers

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"time"
)

// Issuer signs tokens as an OpenID provider does: RS256, with a key of 2,048 bits.
type Issuer struct {
	// URL is the claim iss, Audience the claim aud.
	URL, Audience string
	key           *rsa.PrivateKey
}

// NewIssuer generates a key.
func NewIssuer(url, audience string) (*Issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	return &Issuer{url, audience, key}, err
}

// PublicKey is the public key, as PEM.
func (i *Issuer) PublicKey() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&i.key.PublicKey)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
}

// Token returns a token for the n-th user that is valid for this long.
func (i *Issuer) Token(n int, lifetime time.Duration) (string, error) {
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": i.URL, "aud": i.Audience, "sub": fmt.Sprintf("user-%07d", n), "iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
		"email": fmt.Sprintf("user-%d@api.example", n), "email_verified": true,
	})
	if err != nil {
		return "", err
	}
	signed := encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, digest[:])
	return signed + "." + encode(signature), err
}

func encode(text []byte) string { return base64.RawURLEncoding.EncodeToString(text) }
