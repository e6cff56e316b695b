mod chain;
mod gates;
mod import;
mod lab;
mod propose;
mod sequence;
mod simulation;
