package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"mime"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	externalmetrics "k8s.io/metrics/pkg/client/external_metrics"
)

// question is what a reader asks for.
type question struct {
	namespace, metric, contentType string
	selector                       labels.Selector
}

// readExternalMetrics reads one metric and prints what it decoded as JSON: the proof that a reader which
// we did not write understands our encodings.
//
// The client "hpa" is the one that the HPA controller uses; "rest" decodes by the registered types of
// k8s.io/metrics and refuses an answer of another content type than it asked for.
func readExternalMetrics(arguments []string, out io.Writer) error {
	flags := flag.NewFlagSet("external-metrics-client", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "how to reach the API server")
	client := flags.String("client", "hpa", "hpa or rest")
	selector := flags.String("selector", "", "label selector")
	asked := question{}
	flags.StringVar(&asked.contentType, "content-type", runtime.ContentTypeJSON, "the Accept header")
	flags.StringVar(&asked.namespace, "namespace", "default", "the namespace that asks")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if asked.metric = flags.Arg(0); flags.NArg() != 1 {
		return fmt.Errorf("usage: external-metrics-client [FLAGS…] METRIC")
	}
	var err error
	if asked.selector, err = labels.Parse(*selector); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	config.ContentType, config.AcceptContentTypes = asked.contentType, asked.contentType
	read := map[string]func(*rest.Config, question) (*v1beta1.ExternalMetricValueList, error){
		"hpa": readAsTheHPA, "rest": readStrictly,
	}[*client]
	if read == nil {
		return fmt.Errorf("no client %s: there are hpa and rest", *client)
	}
	list, err := read(config, asked)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(list)
}

func readAsTheHPA(config *rest.Config, asked question) (*v1beta1.ExternalMetricValueList, error) {
	client, err := externalmetrics.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return client.NamespacedMetrics(asked.namespace).List(asked.metric, asked.selector)
}

func readStrictly(config *rest.Config, asked question) (*v1beta1.ExternalMetricValueList, error) {
	known := runtime.NewScheme()
	if err := v1beta1.AddToScheme(known); err != nil {
		return nil, err
	}
	config.APIPath, config.GroupVersion = "/apis", &v1beta1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(known).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, err
	}
	var contentType string
	object, err := client.Get().Namespace(asked.namespace).Resource(asked.metric).
		Param("labelSelector", asked.selector.String()).
		Do(context.Background()).ContentType(&contentType).Get()
	if err != nil {
		return nil, err
	}
	if got, _, err := mime.ParseMediaType(contentType); err != nil || got != asked.contentType {
		return nil, fmt.Errorf("asked for %s, got %q", asked.contentType, contentType)
	}
	list, ok := object.(*v1beta1.ExternalMetricValueList)
	if !ok {
		return nil, fmt.Errorf("asked for an ExternalMetricValueList, got %T", object)
	}
	return list, nil
}
