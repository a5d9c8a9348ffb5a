package webui

import (
	"embed"
	"net/http"
	"strconv"
)

// PathAssets is the path below which routes serves the assets.
const PathAssets = "/ui/"

// The paths of the assets.
const (
	PathStyle = PathAssets + "style.css"
	PathIcon  = PathAssets + "icon.svg"
	// PathLive is the script that keeps a page up to date (assets/live.js).
	PathLive = PathAssets + "live.js"
)

//go:embed assets
var assetFiles embed.FS

// contentTypes are the assets by their file names, and the type of each.
var contentTypes = map[string]string{
	"style.css": "text/css; charset=utf-8",
	"icon.svg":  "image/svg+xml",
	"live.js":   "text/javascript; charset=utf-8",
}

// WriteAsset answers with a file that pages load: style, icon or script. The files have no
// secret, and are the same for everyone. False: there is no such file, and nothing has
// been written.
func WriteAsset(w http.ResponseWriter, name string) bool {
	contentType, known := contentTypes[name]
	if !known {
		return false
	}
	body, err := assetFiles.ReadFile("assets/" + name)
	if err != nil {
		return false // a test reads every file of the list
	}
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body)
	return true
}
