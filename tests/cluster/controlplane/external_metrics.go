package main

import (
	"encoding/json"
	"flag"
	"io"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/clientcmd"
	externalmetrics "k8s.io/metrics/pkg/client/external_metrics"
)

// readExternalMetrics reads one metric as the HPA controller does, with the client that it uses, in the
// content type that is asked for, and prints what it decoded as JSON: the proof that a reader which we
// did not write understands our encodings.
func readExternalMetrics(arguments []string, out io.Writer) error {
	flags := flag.NewFlagSet("external-metrics", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "how to reach the API server")
	contentType := flags.String("content-type", "application/json", "the Accept header")
	namespace := flags.String("namespace", "default", "the namespace that asks")
	selector := flags.String("selector", "", "label selector")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	config.ContentType = *contentType
	config.AcceptContentTypes = *contentType
	wanted, err := labels.Parse(*selector)
	if err != nil {
		return err
	}
	client, err := externalmetrics.NewForConfig(config)
	if err != nil {
		return err
	}
	list, err := client.NamespacedMetrics(*namespace).List(flags.Arg(0), wanted)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(list)
}
