// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tallystick/tallystick"
)

// tokenForm returns the form of a request to the token endpoint of Entra ID that
// signs in as an application (Microsoft identity platform, "OAuth 2.0 client
// credentials flow"), with a request that still has its body to send; nil is any
// other request.
func (t *transport) tokenForm(request *http.Request) (*http.Request, url.Values) {
	if request.Method != http.MethodPost || request.Body == nil || request.ContentLength > maxBody ||
		!strings.HasSuffix(request.URL.Path, "/oauth2/v2.0/token") && !strings.HasSuffix(request.URL.Path, "/oauth2/token") {
		return request, nil
	}
	var form url.Values
	again := request.Clone(request.Context()) // a RoundTripper does not change what it was given
	again.Body = peek(request.Body, func(body []byte) {
		if read, err := url.ParseQuery(string(body)); err == nil && (read.Has("client_assertion") || read.Has("client_secret")) {
			form = read
		}
	})
	return again, form
}

// assertionNames returns the names of the certificate that signed an assertion,
// from its header (RFC 7515 section 4.1.7). What is no assertion has none.
func assertionNames(assertion string) []string {
	var header struct {
		SHA1   string `json:"x5t"`
		SHA256 string `json:"x5t#S256"`
	}
	if !decodePart(assertion, 0, &header) {
		return nil
	}
	var names []string
	if header.SHA1 != "" {
		names = append(names, tallystick.NormalName("x5t:"+header.SHA1))
	}
	if header.SHA256 != "" {
		names = append(names, tallystick.NormalName("x5t-s256:"+header.SHA256))
	}
	return names
}

// graph is the application id of Microsoft Graph in every tenant.
const graph = "00000003-0000-0000-c000-000000000000"

// readToken takes what the answer of a token endpoint says of the use. A token
// that cannot be read is written down without an identifier.
func readToken(use *tallystick.Use, at *url.URL, form url.Values, status int, body []byte) {
	var answer struct {
		AccessToken   string `json:"access_token"`
		CorrelationID string `json:"correlation_id"`
		Codes         []int  `json:"error_codes"`
	}
	_ = json.Unmarshal(body, &answer) // an answer that cannot be read names nothing
	var claims struct {
		UTI      string `json:"uti"`
		Tenant   string `json:"tid"`
		Audience string `json:"aud"`
	}
	decodePart(answer.AccessToken, 1, &claims)
	use.IDs.UTI = claims.UTI
	use.IDs.Correlation = cmp.Or(use.IDs.Correlation, answer.CorrelationID)
	tenant, _, _ := strings.Cut(strings.TrimPrefix(at.Path, "/"), "/")
	resource := cmp.Or(claims.Audience, form.Get("resource"), strings.TrimSuffix(form.Get("scope"), "/.default"))
	if strings.TrimSuffix(resource, "/") == "https://graph.microsoft.com" {
		resource = graph
	}
	use.RelyingParty = "entra:" + cmp.Or(claims.Tenant, tenant) + "/" + resource
	if status != http.StatusOK {
		use.Outcome, use.Detail = tallystick.OutcomeRefused, http.StatusText(status)
		if len(answer.Codes) > 0 {
			use.Detail = fmt.Sprintf("AADSTS%d", answer.Codes[0])
		}
	}
}

// decodePart decodes a part of a token of the form a.b.c (RFC 7515 section 3.1)
// without believing it: the names in it label a use, and open nothing.
func decodePart(token string, part int, to any) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[part])
	return err == nil && json.NewDecoder(bytes.NewReader(text)).Decode(to) == nil
}
