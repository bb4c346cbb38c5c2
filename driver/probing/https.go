// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"io"
	"net/http"
	"strings"
)

// bodyLimit bounds the body that is read so that the connection can be used again.
const bodyLimit = 1 << 20

// The statuses with which nginx answers requests with a bad certificate, or none; its
// users see 400 in their place.
const (
	statusCertificateError    = 495
	statusCertificateRequired = 496
	statusPlainRequest        = 497
)

// get asks for the path of the listener. Statuses of errors that have nothing to do
// with who asks say nothing, but 404 has let the client in as far as there is
// something to find.
func get(t *talk) (verdict, error) {
	path := t.Details["path"]
	if path == "" {
		path = "/"
	}
	request, err := http.NewRequest(http.MethodGet, "https://"+bracketed(t.serverName())+path, nil)
	if err != nil || !strings.HasPrefix(path, "/") {
		return verdict{}, invalid("path %q is none", path)
	}
	request.Header.Set("User-Agent", "tallystick")
	if err := t.sent(request.Write(t.conn)); err != nil {
		return verdict{}, err
	}
	response, err := http.ReadResponse(t.in, request)
	if err != nil {
		return verdict{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit))
	if err != nil {
		return verdict{}, err
	}
	answer := response.Proto + " " + response.Status + " " + string(body)
	switch code := response.StatusCode; code {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden,
		statusCertificateError, statusCertificateRequired, statusPlainRequest:
		return refused(answer), nil
	case http.StatusNotFound:
		return accepted(answer), nil
	default:
		if code >= 200 && code < 400 {
			return accepted(answer), nil
		}
		return failed(answer), nil
	}
}

// bracketed writes a host as a URL has it.
func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}
