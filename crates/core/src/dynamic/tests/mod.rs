mod accepting;
mod flapping;
mod merging;
mod real;
