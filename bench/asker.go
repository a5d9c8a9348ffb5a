package main

import (
	"context"
	"io"
	"net/http"
)

// asker asks forward-auth as a proxy does, over net/http's keep-alive connections.
type asker struct{ http *http.Client }

func newAsker(connections int) *asker {
	return &asker{&http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}}
}

// auth reports whether the key is allowed.
func (a *asker) auth(ctx context.Context, address, key string) (bool, error) {
	r, err := askAuth(address, key)
	if err != nil {
		return false, err
	}
	answer, err := a.http.Do(r.WithContext(ctx))
	if err != nil {
		return false, err
	}
	defer func() { _ = answer.Body.Close() }()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode == http.StatusOK, err
}
