package auth_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytail/keytail/auth"
)

// httpFramework is net/http: Gin's own writer has no ReadFrom.
var httpFramework = frameworks[1]

// recordingConn is a TCP connection that records the files that it sends itself, which
// package net does with sendfile.
type recordingConn struct {
	*net.TCPConn
	listener *recordingListener
}

func (c recordingConn) ReadFrom(src io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(src)
	if limit, ok := src.(*io.LimitedReader); ok {
		if _, isFile := limit.R.(interface{ Name() string }); isFile {
			c.listener.record(n)
		}
	}
	return n, err
}

type recordingListener struct {
	*net.TCPListener

	mutex sync.Mutex
	sizes []int64
	// sent has an item after the first file.
	sent chan struct{}
}

func (l *recordingListener) Accept() (net.Conn, error) {
	conn, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return recordingConn{conn, l}, nil
}

func (l *recordingListener) record(n int64) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.sizes = append(l.sizes, n)
	select {
	case l.sent <- struct{}{}:
	default:
	}
}

// serveFile serves net/http requests over recorded connections.
func serveFile(t *testing.T, handler http.HandlerFunc) (*testServer, *recordingListener) {
	t.Helper()
	k := newKeys(t)
	k.put("k")
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	listener := &recordingListener{TCPListener: tcp, sent: make(chan struct{}, 1)}
	server := httptest.NewUnstartedServer(httpFramework.serve(k, handler, nil, auth.CancelOnRevocation()))
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return &testServer{server, k}, listener
}

func tempFile(t *testing.T, size int) (path string, content []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	content = bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, content
}

// Package net sends the file, and no bytes of it pass through the handler, whichever
// way the handler copies it.
func TestFilesAreSentWithSendfile(t *testing.T) {
	const size = 2<<20 + 12345 // two full chunks and a part
	path, content := tempFile(t, size)
	copies := map[string]func(w http.ResponseWriter, r *http.Request, file *os.File) (int64, error){
		"io.Copy": func(w http.ResponseWriter, _ *http.Request, file *os.File) (int64, error) { return io.Copy(w, file) },
		"io.CopyN": func(w http.ResponseWriter, _ *http.Request, file *os.File) (int64, error) {
			return io.CopyN(w, file, size)
		},
		"http.ServeContent": func(w http.ResponseWriter, r *http.Request, file *os.File) (int64, error) {
			http.ServeContent(w, r, "file", time.Time{}, file)
			return size, nil
		},
	}
	for name, send := range copies {
		t.Run(name, func(t *testing.T) {
			s, listener := serveFile(t, func(w http.ResponseWriter, r *http.Request) {
				file, err := os.Open(path)
				if err != nil {
					t.Error(err)
					return
				}
				defer file.Close()
				w.Header().Set("Content-Length", strconv.Itoa(size))
				if n, err := send(w, r, file); n != size || err != nil {
					t.Errorf("sent %d bytes, %v", n, err)
				}
			})
			response := s.get(t)
			if body := bodyOf(t, response); body != string(content) {
				t.Errorf("got %d bytes, want %d", len(body), size)
			}
			listener.mutex.Lock()
			defer listener.mutex.Unlock()
			total := int64(0)
			for _, n := range listener.sizes {
				total += n
			}
			// net/http copies the first 512 bytes itself to detect the type.
			if total < size-512 || len(listener.sizes) < 3 || slices.Max(listener.sizes) > 1<<20 {
				t.Errorf("sendfile sent %v", listener.sizes)
			}
		})
	}
}

// A copy of a part leaves the LimitedReader as io.Copy would.
func TestReadFromOfPartsAndOtherReaders(t *testing.T) {
	path, content := tempFile(t, 3000)
	s, listener := serveFile(t, func(w http.ResponseWriter, _ *http.Request) {
		file, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer file.Close()
		limit := &io.LimitedReader{R: file, N: 1000}
		if n, err := io.Copy(w, limit); n != 1000 || err != nil || limit.N != 0 {
			t.Errorf("first part: %d, %v, %d left", n, err, limit.N)
		}
		limit.N = 5000
		if n, err := io.Copy(w, limit); n != 2000 || err != nil || limit.N != 3000 {
			t.Errorf("second part: %d, %v, %d left", n, err, limit.N)
		}
		if n, err := io.Copy(w, io.MultiReader(strings.NewReader("the "), strings.NewReader("end"))); n != 7 || err != nil {
			t.Errorf("other reader: %d, %v", n, err)
		}
	})
	if body := bodyOf(t, s.get(t)); body != string(content)+"the end" {
		t.Errorf("got %d bytes", len(body))
	}
	// Without a Content-Length the response is chunked, which sendfile cannot do.
	if len(listener.sizes) != 0 {
		t.Errorf("sendfile sent %v", listener.sizes)
	}
}

// The client reads the beginning only, so sendfile blocks.
func TestRevocationEndsABlockedSendfile(t *testing.T) {
	path, _ := tempFile(t, 64<<20)
	done := make(chan error, 1)
	s, listener := serveFile(t, func(w http.ResponseWriter, _ *http.Request) {
		file, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer file.Close()
		w.Header().Set("Content-Length", strconv.Itoa(64<<20))
		_, err = io.Copy(w, file)
		if err == nil {
			t.Error("the copy succeeded")
		}
		_, err = io.Copy(w, file)
		done <- err
	})
	s.get(t)
	wait(t, listener.sent, "the first chunk")
	s.keys.put("k", revoked)
	var cause *auth.RevokedError
	if err := wait(t, done, "the end of the copy"); !errors.As(err, &cause) || cause.Code != auth.Disabled {
		t.Errorf("a copy after the revocation returned %v", err)
	}
}
