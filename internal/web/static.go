// SPDX-License-Identifier: Apache-2.0

package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// An asset is a file of static/ with its address, which changes with its
// content: a browser may keep it for ever.
type asset struct {
	url, contentType string
	content          []byte
}

// assets are by the name in static/ and by the last element of the address.
type assets struct{ byName, byFile map[string]asset }

func loadAssets() (assets, error) {
	a := assets{byName: map[string]asset{}, byFile: map[string]asset{}}
	entries, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		return a, fmt.Errorf("couldn't list the assets: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		content, err := staticFiles.ReadFile("static/" + name)
		if err != nil {
			return a, fmt.Errorf("couldn't read asset %s: %w", name, err)
		}
		sum := sha256.Sum256(content)
		extension := path.Ext(name)
		file := strings.TrimSuffix(name, extension) + "." + hex.EncodeToString(sum[:6]) + extension
		one := asset{url: "/static/" + file, contentType: mime.TypeByExtension(extension), content: content}
		a.byName[name], a.byFile[file] = one, one
	}
	return a, nil
}

// Static serves the assets.
func (s *Site) Static(w http.ResponseWriter, r *http.Request) {
	one, ok := s.assets.byFile[r.PathValue("file")]
	if !ok {
		http.NotFound(w, r) // an old page asks for an old asset: no page for that
		return
	}
	w.Header().Set("Content-Type", one.contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(one.content)
}
