/* Speak one text with flite and write, on stdout: "D seconds", "P phone start end stress" and "W word start end" lines,
 * then "S samples rate" and the samples as raw int16.
 * usage: flite_labels voice text stretch f0_mean f0_stddev   (f0 values of 0 keep the voice's own) */
#include <flite/flite.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cst_voice *register_cmu_us_slt(const char *);
cst_voice *register_cmu_us_rms(const char *);
cst_voice *register_cmu_us_awb(const char *);
cst_voice *register_cmu_us_kal16(const char *);

int main(int argc, char **argv)
{
    cst_voice *voice = NULL;
    cst_utterance *utterance;
    cst_wave *wave;
    cst_item *item;
    float start = 0;

    if (argc != 6)
        return 2;
    flite_init();
    if (!strcmp(argv[1], "slt"))
        voice = register_cmu_us_slt(NULL);
    else if (!strcmp(argv[1], "rms"))
        voice = register_cmu_us_rms(NULL);
    else if (!strcmp(argv[1], "awb"))
        voice = register_cmu_us_awb(NULL);
    else if (!strcmp(argv[1], "kal16"))
        voice = register_cmu_us_kal16(NULL);
    if (!voice)
        return 3;
    feat_set_float(voice->features, "duration_stretch", atof(argv[3]));
    if (atof(argv[4]) > 0)
        feat_set_float(voice->features, "int_f0_target_mean", atof(argv[4]));
    if (atof(argv[5]) > 0)
        feat_set_float(voice->features, "int_f0_target_stddev", atof(argv[5]));
    utterance = flite_synth_text(argv[2], voice);
    if (!utterance)
        return 4;
    wave = utt_wave(utterance);
    printf("D %f\n", (double)wave->num_samples / wave->sample_rate);
    for (item = relation_head(utt_relation(utterance, "Segment")); item; item = item_next(item)) {
        float end = item_feat_float(item, "end");
        printf("P %s %f %f %s\n", item_feat_string(item, "name"), start, end,
               ffeature_string(item, "R:SylStructure.parent.stress"));
        start = end;
    }
    for (item = relation_head(utt_relation(utterance, "Word")); item; item = item_next(item))
        printf("W %s %f %f\n", item_feat_string(item, "name"),
               ffeature_float(item, "R:SylStructure.daughter1.daughter1.R:Segment.p.end"),
               ffeature_float(item, "R:SylStructure.daughtern.daughtern.R:Segment.end"));
    printf("S %d %d\n", wave->num_samples, wave->sample_rate);
    fwrite(wave->samples, sizeof(short), wave->num_samples, stdout);
    return 0;
}
