// SPDX-License-Identifier: Apache-2.0

package entra

import "encoding/xml"

// The namespaces of EWS.
const (
	soapNamespace     = "http://schemas.xmlsoap.org/soap/envelope/"
	typesNamespace    = "http://schemas.microsoft.com/exchange/services/2006/types"
	messagesNamespace = "http://schemas.microsoft.com/exchange/services/2006/messages"
	errorsNamespace   = "http://schemas.microsoft.com/exchange/services/2006/errors"
)

// encoding/xml writes no prefixes of its own accord: they are part of the names
// here, and declared where they are first needed.

type soapEnvelope struct {
	XMLName xml.Name   `xml:"s:Envelope"`
	SOAP    string     `xml:"xmlns:s,attr"`
	Header  soapHeader `xml:"s:Header"`
	Body    soapBody   `xml:"s:Body"`
}

type soapHeader struct {
	Version serverVersion `xml:"h:ServerVersionInfo"`
}

type serverVersion struct {
	Types   string `xml:"xmlns:h,attr"`
	Major   int    `xml:"MajorVersion,attr"`
	Minor   int    `xml:"MinorVersion,attr"`
	Build   int    `xml:"MajorBuildNumber,attr"`
	Patch   int    `xml:"MinorBuildNumber,attr"`
	Version string `xml:"Version,attr"`
}

type soapBody struct{ Any any }

type soapFault struct {
	XMLName xml.Name    `xml:"s:Fault"`
	Code    faultCode   `xml:"faultcode"`
	String  faultString `xml:"faultstring"`
	Detail  faultDetail `xml:"detail"`
}

type faultCode struct {
	Types string `xml:"xmlns:a,attr"`
	Text  string `xml:",chardata"`
}

type faultString struct {
	Language string `xml:"xml:lang,attr"`
	Text     string `xml:",chardata"`
}

type faultDetail struct {
	ResponseCode ewsText   `xml:"e:ResponseCode"`
	Message      ewsText   `xml:"e:Message"`
	XML          *faultXML `xml:"t:MessageXml"`
}

type ewsText struct {
	Namespace string `xml:"xmlns:e,attr"`
	Text      string `xml:",chardata"`
}

type faultXML struct {
	Namespace string     `xml:"xmlns:t,attr"`
	Value     faultValue `xml:"t:Value"`
}

type faultValue struct {
	Name string `xml:"Name,attr"`
	Text string `xml:",chardata"`
}

// An operationAnswer is the answer of one operation; its name and those of its
// messages follow from the operation's.
type operationAnswer struct {
	XMLName  xml.Name
	Messages string            `xml:"xmlns:m,attr"`
	Types    string            `xml:"xmlns:t,attr"`
	Answers  []responseMessage `xml:"m:ResponseMessages>any"`
}

type responseMessage struct {
	XMLName      xml.Name
	Class        string         `xml:"ResponseClass,attr"` // Success, Warning, Error
	Text         string         `xml:"m:MessageText,omitempty"`
	Code         string         `xml:"m:ResponseCode"`
	LinkKey      *int           `xml:"m:DescriptiveLinkKey"`
	SyncState    string         `xml:"m:SyncState,omitempty"`
	IncludesLast *bool          `xml:"m:IncludesLastItemInRange"`
	Changes      *syncChanges   `xml:"m:Changes"`
	Root         *rootFolder    `xml:"m:RootFolder"`
	Folders      *[]folderXML   `xml:"m:Folders>t:Folder"`
	Items        *[]messageXML  `xml:"m:Items>t:Message"`
	Resolution   *resolutionSet `xml:"m:ResolutionSet"`
}

type rootFolder struct {
	Offset       int          `xml:"IndexedPagingOffset,attr"`
	Total        int          `xml:"TotalItemsInView,attr"`
	IncludesLast bool         `xml:"IncludesLastItemInRange,attr"`
	Items        []messageXML `xml:"t:Items>t:Message"`
}

type syncChanges struct {
	Creates []syncCreate `xml:"t:Create"`
}

type syncCreate struct {
	Message messageXML `xml:"t:Message"`
}

type folderXML struct {
	ID       itemID `xml:"t:FolderId"`
	Class    string `xml:"t:FolderClass"`
	Name     string `xml:"t:DisplayName"`
	Total    int    `xml:"t:TotalCount"`
	Children int    `xml:"t:ChildFolderCount"`
	Unread   int    `xml:"t:UnreadCount"`
}

type messageXML struct {
	ID             itemID      `xml:"t:ItemId"`
	ParentFolder   *itemID     `xml:"t:ParentFolderId"`
	Class          string      `xml:"t:ItemClass,omitempty"`
	Subject        string      `xml:"t:Subject,omitempty"`
	Body           *bodyXML    `xml:"t:Body"`
	Received       string      `xml:"t:DateTimeReceived,omitempty"`
	Size           int         `xml:"t:Size,omitempty"`
	HasAttachments *bool       `xml:"t:HasAttachments"`
	From           *mailboxXML `xml:"t:From>t:Mailbox"`
	MessageID      string      `xml:"t:InternetMessageId,omitempty"`
	Read           *bool       `xml:"t:IsRead"`
}

type bodyXML struct {
	Type string `xml:"BodyType,attr"`
	Text string `xml:",chardata"`
}

type mailboxXML struct {
	Name        string `xml:"t:Name"`
	Address     string `xml:"t:EmailAddress"`
	RoutingType string `xml:"t:RoutingType"`
	MailboxType string `xml:"t:MailboxType,omitempty"`
}

type resolutionSet struct {
	Total        int          `xml:"TotalItemsInView,attr"`
	IncludesLast bool         `xml:"IncludesLastItemInRange,attr"`
	Resolutions  []mailboxXML `xml:"t:Resolution>t:Mailbox"`
}
