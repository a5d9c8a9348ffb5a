package peers

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"text/template"
)

// Service is a service behind a proxy.
type Service struct {
	// Name is an identifier: a part of the proxy's configuration is named after it.
	Name string
	// Listen is the address at which the proxy serves this side.
	Listen string
	// Address is that of the service: host:port, or unix:/path. Empty: no key check.
	Address string
	// Path is what nginx asks for, and Headers what it sends besides the client's headers.
	Path    string
	Headers []string
	// Context is what Envoy adds to a check, as the contents of a YAML mapping.
	Context string
}

// oathkeeper is what its configuration depends on. All addresses are host:port.
type oathkeeper struct {
	Dir, Listen, Proxy, Metrics string
	Introspection               string
	// Cache reports whether results are cached, for the TTL.
	Cache bool
	TTL   string
}

// render executes the template of a configuration, writes it to dir, and returns its path.
func render(dir, name string, data any) (string, error) {
	functions := template.FuncMap{"port": func(address string) (string, error) {
		_, port, err := net.SplitHostPort(address)
		return port, err
	}}
	t, err := template.New(name).Option("missingkey=error").Funcs(functions).ParseFS(configs, "config/"+name)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, data); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, text.Bytes(), 0o600)
}

// proxyConfig is the data of nginx.conf and envoy.yaml.
type proxyConfig struct {
	Dir      string
	Services []Service
}
