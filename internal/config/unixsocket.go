package config

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

// maxSocketPath is the longest path of a socket that Linux and macOS can bind.
const maxSocketPath = 103

// UnixSocket is the path in an address of the form unix:/path. is reports whether it has
// that form.
func UnixSocket(addr string) (path string, is bool) {
	return strings.CutPrefix(addr, "unix:")
}

// SocketMode is the mode of the files of Unix sockets.
func (c *Config) SocketMode() (fs.FileMode, error) {
	mode, err := strconv.ParseUint(c.UnixSocketMode, 8, 32)
	if err != nil || mode&^uint64(fs.ModePerm) != 0 {
		return 0, fmt.Errorf("--unix-socket-mode must be octal digits, such as 0660, not %s", quote(c.UnixSocketMode))
	}
	return fs.FileMode(mode), nil
}

// checkAddr checks the address. Proxies connect to the public and the gRPC listener, so
// these can also be sockets.
func (l Listener) checkAddr(dev bool) error {
	path, is := UnixSocket(l.Addr)
	switch {
	case !is || l.Name != Public && l.Name != GRPC:
		return address(l.Flag, l.Addr)
	case dev:
		return fmt.Errorf("--%s must be host:port with --dev, whose commands to try connect to it", l.Flag)
	case !filepath.IsAbs(path):
		return fmt.Errorf("--%s must be unix: and an absolute path, such as unix:/run/keytail/public.sock, not %s", l.Flag, quote(l.Addr))
	case len(path) > maxSocketPath:
		return fmt.Errorf("--%s: the path of a socket has at most %d bytes, not %d", l.Flag, maxSocketPath, len(path))
	}
	return nil
}
