package main

import (
	"context"
	"io"
	"net/http"
)

// authClient sends forward-auth requests as a proxy does, over keep-alive connections of
// net/http.
type authClient struct{ http *http.Client }

func newAuthClient(connections int) *authClient {
	return &authClient{&http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}}
}

// allows reports whether keytail allows the key.
func (a *authClient) allows(ctx context.Context, address, key string) (bool, error) {
	r, err := authRequest(address, key)
	if err != nil {
		return false, err
	}
	response, err := a.http.Do(r.WithContext(ctx))
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode == http.StatusOK, err
}
