package doctor

import "github.com/keytail/keytail/internal/apikey"

// hash is a check of keyed hashes alone. Nothing in a document shows which secret
// its hash was made with, or whether there was one.
func (e *examination) hash() {
	if e.Store.Schema().HashAlgorithm != apikey.HMACSHA256 {
		return
	}
	if warning := e.Store.SecretWarning(); warning != "" {
		e.add("hash", Warning, warning)
		return
	}
	e.add("hash", OK, "hashes are HMAC-SHA256; no document shows whether the secret is the right one, so verify a key that you know (keytail verify)")
}
