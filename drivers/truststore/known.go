// SPDX-License-Identifier: Apache-2.0

package truststore

import (
	"fmt"
	"path/filepath"
	"slices"
)

// known are the patterns of where packages put trust stores.
var known = [...]string{
	"/etc/ssl/certs", // Debian, SUSE, Alpine
	"/etc/ssl/cert.pem",
	"/etc/ssl/certs/java/cacerts",
	"/etc/pki/tls/certs/ca-bundle.crt", // Fedora
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/pki/ca-trust/extracted/java/cacerts",
	"/etc/pki/java/cacerts",
	"/etc/ca-certificates/extracted/tls-ca-bundle.pem", // Arch
	"/usr/lib/jvm/*/lib/security/cacerts",
	"/usr/lib/jvm/*/jre/lib/security/cacerts", // Java 8
	"/opt/*/lib/security/cacerts",
	"/usr/lib/python3*/*-packages/certifi/cacert.pem",
	"/usr/lib/python3*/*-packages/pip/_vendor/certifi/cacert.pem",
	"/usr/local/lib/python3*/*-packages/certifi/cacert.pem",
	"/usr/local/lib/python3*/*-packages/pip/_vendor/certifi/cacert.pem",
	"/opt/*/lib/python3*/site-packages/certifi/cacert.pem",
}

// stores returns the stores beneath root ("/") that known leads to, without
// symbolic links, sorted, each once. A path that leads nowhere is no store.
func stores(root string) ([]string, error) {
	var paths []string
	for _, pattern := range known {
		matches, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, fmt.Errorf("couldn't look for %s: %w", pattern, err)
		}
		for _, match := range matches {
			if real, err := filepath.EvalSymlinks(match); err == nil {
				paths = append(paths, real)
			}
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}
