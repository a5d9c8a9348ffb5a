package network

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func TestOnlyOneServerCanBeCutOff(t *testing.T) {
	for uri, several := range map[string]bool{
		"mongodb://a,b/": true, "mongodb://user:word@a:1,b?tls=true": true, "mongodb://a,b:1": true, "mongodb+srv://a/": true, "mongodb://%zz": false,
	} {
		p, err := Open(uri, nil)
		if err == nil {
			p.Stop()
		}
		if err == nil || errors.Is(err, ErrSeveral) != several {
			t.Errorf("%s: got %v", uri, err)
		}
	}
	p, err := Open("mongodb://user:word@127.0.0.1:1/?replicaSet=rs&tls=true", map[string]string{"maxPoolSize": "20"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if want := "mongodb://user:word@" + p.Listen + "/?directConnection=true&maxPoolSize=20&tls=true"; p.URI != want {
		t.Errorf("got %s, want %s", p.URI, want)
	}
}

// TestBrokenNetworkCarriesNothingUntilItIsRepaired sends bytes to a server that returns them.
func TestBrokenNetworkCarriesNothingUntilItIsRepaired(t *testing.T) {
	p, err := Open("mongodb://"+startEcho(t)+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	returned := func(wait time.Duration) error {
		conn, err := net.Dial("tcp", p.Listen)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(wait))
		if _, err := io.WriteString(conn, "a"); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	if err := returned(10 * time.Second); err != nil {
		t.Fatal("before the fault: ", err)
	}
	for _, toxics := range [][]string{{LoseRequests}, {LoseReplies}, {LoseRequests, LoseReplies}} {
		repair, err := p.Break(toxics...)
		if err != nil {
			t.Fatal(err)
		}
		if err := returned(50 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: got %v, want silence", toxics, err)
		}
		if err := repair(); err != nil {
			t.Fatal(err)
		}
		if err := returned(10 * time.Second); err != nil {
			t.Errorf("%q: after the repair: %v", toxics, err)
		}
	}
	if _, err := p.Break(Reset, "no toxic"); err == nil {
		t.Error("a text that is no toxic was accepted")
	}
	if err := returned(10 * time.Second); err != nil {
		t.Errorf("the toxic before the one that failed remains: %v", err)
	}
}

// startEcho starts a server that returns what it gets.
func startEcho(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	return listener.Addr().String()
}
